/** The build itself: what it makes, that it makes the same everywhere, and what it says when it cannot. */
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { buildExecutable, checkStatic, SIZE_LIMIT } from "../../scripts/build/quickjs.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));
const dist = (name: string) => join(root, "dist", name);
const temporary = mkdtempSync(join(tmpdir(), "build-"));
afterAll(() => rmSync(temporary, { recursive: true, force: true }));

const OUTPUTS = ["cfsboot.mjs", "linux.node", "composefs-setup-root", "man"];

/** Of each file that the build made. */
function digests(directory: string): Record<string, string> {
  const made = readdirSync(join(directory, "dist"), { recursive: true, withFileTypes: true });
  const files = made.filter((entry) => entry.isFile());
  const digest = (path: string) => createHash("sha256").update(readFileSync(path)).digest("hex");
  return Object.fromEntries(
    files
      .map(({ parentPath, name }) => join(parentPath, name))
      .map((path) => [relative(directory, path), digest(path)]),
  );
}

/** A copy of what the build reads, without what it has cached, except the engine's tarball. */
function copySources(from: string, to: string): void {
  mkdirSync(join(to, ".cache"), { recursive: true });
  for (const name of ["src", "initrd", "userspace", "native", "scripts", "docs"]) {
    cpSync(join(from, name), join(to, name), { recursive: true });
  }
  for (const name of ["build.mjs", "package.json"]) cpSync(join(from, name), join(to, name));
  const packages = join(from, ".cache/packages");
  if (existsSync(packages)) cpSync(packages, join(to, ".cache/packages"), { recursive: true });
  // Hard links where they can be: nothing writes to these.
  const modules = [join(from, "node_modules"), join(to, "node_modules")];
  if (spawnSync("cp", ["-al", ...modules]).status !== 0) {
    rmSync(modules[1]!, { recursive: true, force: true });
    execFileSync("cp", ["-a", ...modules]);
  }
}

function build(directory: string, args: string[] = [], env: NodeJS.ProcessEnv = {}) {
  return spawnSync(process.execPath, [join(directory, "build.mjs"), ...args], {
    encoding: "utf8",
    cwd: tmpdir(),
    env: { ...process.env, ...env },
  });
}

test("two directories give the same bytes, and a second run builds nothing", () => {
  const first = join(temporary, "a");
  const second = join(temporary, "a longer name/of another depth");
  copySources(root, first);
  copySources(first, second);
  for (const directory of [first, second]) {
    const { status, stdout, stderr } = build(directory);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout.match(/: built, /g)).toHaveLength(OUTPUTS.length);
  }
  expect(digests(second)).toEqual(digests(first));

  const before = OUTPUTS.map((name) => statSync(join(first, "dist", name)).mtimeMs);
  expect(build(first).stdout.match(/: up to date, /g)).toHaveLength(OUTPUTS.length);
  expect(OUTPUTS.map((name) => statSync(join(first, "dist", name)).mtimeMs)).toEqual(before);

  // Touched is not changed; changed is built again, and only what depends on it.
  const source = join(first, "native/napi.c");
  utimesSync(source, new Date(), new Date());
  expect(build(first, ["linux.node"]).stdout).toContain("linux.node: up to date");
  writeFileSync(source, `${readFileSync(source, "utf8")}\n`);
  const { stdout } = build(first);
  expect(stdout).toContain("linux.node: built");
  expect(stdout).toContain("composefs-setup-root: up to date");

  // A damaged output is not up to date.
  writeFileSync(join(first, "dist/composefs-setup-root"), "damaged");
  expect(build(first).stdout).toContain("composefs-setup-root: built");
  expect(digests(first)).toEqual(digests(second));
  expect(readdirSync(join(first, ".cache")).filter((name) => name.startsWith("tmp-"))).toEqual([]);
}, 400_000);

test("the program of the initramfs is static and small", () => {
  if ((process.env.QUICKJS || "bellard") === "bellard") {
    expect(statSync(dist("composefs-setup-root")).size).toBeLessThanOrEqual(SIZE_LIMIT);
  }
  checkStatic(dist("composefs-setup-root"));
  expect(() => checkStatic(dist("linux.node"))).toThrow(/expected a static executable/);
  expect(() => checkStatic(process.execPath)).toThrow(/expected a static executable/);
  expect(() => checkStatic(dist("cfsboot.mjs"))).toThrow(/expected a 64-bit ELF file/);
});

test("the program of the initramfs runs where there is nothing else", ({ skip }) => {
  if (process.geteuid?.() !== 0) return skip("chroot needs root");
  const empty = mkdtempSync(join(temporary, "chroot-"));
  cpSync(dist("composefs-setup-root"), join(empty, "program"));
  const { status, stdout } = spawnSync("chroot", [empty, "/program", "--help"], {
    encoding: "utf8",
  });
  expect(status).toBe(0);
  expect(stdout).toMatch(/^usage: composefs-setup-root /);
});

test("a missing compiler, a wrong engine and a wrong source are told in one line", () => {
  const told = (args: string[], env: NodeJS.ProcessEnv) => {
    const { status, stderr } = build(root, args, env);
    expect(status).toBe(1);
    return stderr;
  };
  const hint = "hint: install what the build needs with: npm run setup\n";
  expect(told(["linux.node"], { CC: "no-such-cc" })).toBe(
    `build: error: dist/linux.node: no-such-cc is not on this machine\n${hint}`,
  );
  expect(told(["composefs-setup-root"], { MUSL_CC: "no-such-cc" })).toBe(
    `build: error: dist/composefs-setup-root: no-such-cc is not on this machine\n${hint}`,
  );
  expect(told(["composefs-setup-root"], { QUICKJS: "v8" })).toContain('expected "bellard" or "ng"');
  expect(told(["composefs-setup-root"], { QUICKJS_SRC: "/nonexistent" })).toContain(
    "QUICKJS_SRC=/nonexistent: there is no such file",
  );
  const empty = mkdtempSync(join(temporary, "source-"));
  expect(told(["composefs-setup-root"], { QUICKJS_SRC: empty })).toContain("no quickjs.c");
  expect(told(["dist/linux.node"], {})).toContain("expected one of cfsboot.mjs, linux.node, ");
});

test("a program that needs what was left out of the engine is refused", async () => {
  const entry = join(temporary, "sine.ts");
  writeFileSync(entry, "export const sine = Math.sin(1);\n");
  const output = join(temporary, "sine");
  await expect(buildExecutable({ entry, output, engine: "bellard" })).rejects.toThrow(/Math\.sin/);
});
