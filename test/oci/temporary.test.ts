import { spawn } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { TemporaryDirectory } from "../../userspace/oci/temporary.ts";
import { makeRepository } from "./fixtures/pulling.ts";

const CFSBOOT = join(import.meta.dirname, "../../dist/cfsboot.mjs");

let parent: string;
beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), "temporary-"));
  vi.stubEnv("TMPDIR", parent);
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(parent, { recursive: true });
});

/** One that has ended but that nobody has asked after does not count. */
function isRunning(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    return false;
  }
}

describe("temporary directories", () => {
  test("go away with all that is in them", () => {
    const directory = new TemporaryDirectory();
    expect(directory.path.startsWith(`${parent}/cfsboot-`)).toBe(true);
    mkdirSync(join(directory.path, "a"));
    writeFileSync(join(directory.path, "a/b"), "");
    directory.close();
    expect(readdirSync(parent)).toEqual([]);
    const next = openSync(parent, "r"); // may have the number that the directory's lock had
    directory.close();
    closeSync(next); // and is still open
  });

  test("of a process that was killed: the next one removes them, but not those in use, nor others'", () => {
    const inUse = new TemporaryDirectory();
    const stale = join(parent, "cfsboot-stale");
    const fresh = join(parent, "cfsboot-fresh");
    const others = join(parent, "others");
    for (const path of [stale, fresh, others]) mkdirSync(path, { mode: 0o700 });
    mkdirSync(join(stale, "image"));
    const old = new Date(Date.now() - 3_600_000);
    for (const path of [stale, others, inUse.path]) utimesSync(path, old, old);
    const next = new TemporaryDirectory();
    expect([stale, fresh, others, inUse.path].map((path) => existsSync(path))).toEqual([
      false,
      true,
      true,
      true,
    ]);
    next.close();
    inUse.close();
  });

  test("go away when the process is interrupted", async () => {
    const repo = makeRepository(join(parent, "repo"));
    const bin = join(parent, "bin");
    mkdirSync(bin);
    // stands for a copy that takes long
    writeFileSync(join(bin, "skopeo"), '#!/bin/sh\necho $$ > "$TMPDIR/started"\nexec sleep 60\n', {
      mode: 0o755,
    });
    const args = ["image", "pull", "docker-daemon:x", "--repo", repo];
    const child = spawn(process.execPath, [CFSBOOT, ...args], {
      stdio: "ignore",
      env: { ...process.env, PATH: `${bin}:${process.env.PATH}`, HOME: parent },
    });
    const ended = new Promise((resolve) => child.once("exit", (_, signal) => resolve(signal)));
    while (!existsSync(join(parent, "started"))) await new Promise((next) => setTimeout(next, 20));
    expect(readdirSync(parent).filter((name) => name.startsWith("cfsboot-"))).toHaveLength(1);
    child.kill("SIGTERM");
    expect(await ended).toBe("SIGTERM");
    const pid = Number(readFileSync(join(parent, "started"), "utf8"));
    await expect.poll(() => isRunning(pid)).toBe(false);
    expect(readdirSync(parent).filter((name) => name.startsWith("cfsboot-"))).toEqual([]);
  });
});
