/** The cases of conformance.ts in every engine that cfsboot runs on. */
import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { buildExecutable } from "../../scripts/build/quickjs.mjs";
import { CASES } from "./conformance.ts";
import type { Result } from "./conformance-program.ts";

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const isRoot = process.geteuid?.() === 0;
const temporary = mkdtempSync(join(tmpdir(), "conformance-"));
afterAll(() => rmSync(temporary, { recursive: true, force: true }));

/** The program bundled for Node, beside the addon as in dist/. */
async function bundleForNode(): Promise<string> {
  const outfile = join(temporary, "bundle/conformance.mjs");
  await esbuild.build({
    entryPoints: [here("conformance-node.ts")],
    outfile,
    bundle: true,
    format: "esm",
    platform: "node",
    target: "node20",
    logLevel: "silent",
  });
  copyFileSync(here("../../dist/linux.node"), join(temporary, "bundle/linux.node"));
  return outfile;
}

async function quickjs(engine: "bellard" | "ng"): Promise<string[]> {
  const output = join(temporary, `conformance-${engine}`);
  await buildExecutable({ entry: here("conformance-quickjs.ts"), output, engine });
  return [output];
}

/** A Node on PATH of another version than the one that runs the tests, if there is one. */
function otherNode(): string | undefined {
  for (const dir of (process.env.PATH ?? "").split(":")) {
    const found = spawnSync(join(dir, "node"), ["--version"], { encoding: "utf8" });
    if (found.status === 0 && found.stdout.trim() !== process.version) return join(dir, "node");
  }
  return undefined;
}

/** Each engine: the command that runs the program, or why that cannot be done here. */
const ENGINES: Record<string, () => Promise<string[] | string>> = {
  [`Node ${process.version}`]: async () => [process.execPath, await bundleForNode()],
  "another version of Node": async () => {
    const node = otherNode();
    return node === undefined
      ? "there is no other version of Node on PATH"
      : [node, await bundleForNode()];
  },
  QuickJS: () => quickjs("bellard"),
  "quickjs-ng": () =>
    quickjs("ng").catch((error: Error) => {
      // Its source is a package of a Debian suite that moves: not every machine can get it.
      if (/apt-get|apt-cache|mirror/.test(error.message)) return `no source: ${error.message}`;
      throw error;
    }),
};

describe.each(Object.keys(ENGINES))("%s", (engine) => {
  let command: string[] | string;
  const results = new Map<string, Result>();
  beforeAll(async () => {
    command = await ENGINES[engine]!();
    if (typeof command === "string") return;
    const dir = join(temporary, engine.replaceAll(/\W/g, "-"));
    mkdirSync(dir);
    const [program, ...args] = command;
    const options = isRoot ? ["--mounts"] : [];
    const out = execFileSync(program!, [...args, dir, ...options], { encoding: "utf8" });
    for (const line of out.trim().split("\n")) {
      const result = JSON.parse(line) as Result;
      results.set(result.name, result);
    }
  }, 300_000);

  test.for(CASES)("$name", ({ name, needsRoot }, { skip }) => {
    if (typeof command === "string") return skip(command);
    if (needsRoot && !isRoot) return skip("mounting needs root");
    expect(results.get(name)).toEqual({ name });
  });

  test("execve replaces the program", ({ skip }) => {
    if (typeof command === "string") return skip(command);
    const [program, ...args] = command;
    const shell = ["/bin/sh", "-c", 'echo "$GREETING|$EMPTY|$0|$1"', "nüll", "one two"];
    const out = execFileSync(program!, [...args, "--execve", ...shell], { encoding: "utf8" });
    expect(out).toBe("grüß dich||nüll|one two\n");
  });

  test("execve of nothing says so", ({ skip }) => {
    if (typeof command === "string") return skip(command);
    const [program, ...args] = command;
    const { status, stderr } = spawnSync(program!, [...args, "--execve", "/nonexistent"], {
      encoding: "utf8",
    });
    expect(status).toBe(1);
    expect(stderr).toContain("execve /nonexistent: No such file or directory");
  });
});
