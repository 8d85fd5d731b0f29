/**
 * The program as it is shipped, killed at a system call that changes something: the repository stays sound, the next run
 * completes what was begun, and garbage collection leaves just what a run that nobody disturbed would have.
 *
 * A few such calls, evenly spread, unless `CFSBOOT_KILL_STRIDE=10` says that it shall be every tenth. Where there is a
 * cfsctl, it looks at what was left, too.
 */
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { completeRewrites } from "../../userspace/oci/commit.ts";
import { openLayout } from "../../userspace/oci/layout.ts";
import { pull } from "../../userspace/oci/pull.ts";
import { collectGarbage } from "../../userspace/repository/gc.ts";
import { openRepository } from "../../userspace/repository/repository.ts";
import { CFSCTL, cfsctl } from "../interop/cfsctl.ts";
import { image, tar, writeLayout } from "./fixtures/images.ts";
import { makeRepository, names, PLATFORM, requireIntact } from "./fixtures/pulling.ts";

const CFSBOOT = join(import.meta.dirname, "../../dist/cfsboot.mjs");
const STRIDE = Number(process.env.CFSBOOT_KILL_STRIDE ?? 0);
const MOMENTS = 8;
const KILLED = 137;
const FILES = 40;

/** An archive with many files, all different. */
function layer(name: string): Buffer {
  const files = Array.from({ length: FILES }, (_, i) => ({
    path: `usr/${name}/${i}`,
    data: `${name} ${i} `.repeat(20 + 7 * i * i),
  }));
  const directories = ["usr/", "boot/", "sysroot/", `usr/${name}/`].map((path) => ({ path }));
  return tar([...directories, ...files]);
}

let scratch: string;
let killer: string;
let obstacle: string | undefined;
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), "cfsboot-killed-"));
  const of = (...layers: [name: string, compression: "gzip" | "zstd" | "none"][]) =>
    image(layers.map(([name, compression]) => ({ tar: layer(name), compression })));
  writeLayout(join(scratch, "old"), [{ image: of(["base", "gzip"], ["old", "none"]) }]);
  writeLayout(join(scratch, "new"), [{ image: of(["base", "gzip"], ["new", "zstd"]) }]);

  killer = join(scratch, "kill-at");
  const source = join(import.meta.dirname, "killed/kill-at.c");
  const compiled = spawnSync("cc", ["-O2", "-o", killer, source], { encoding: "utf8" });
  if (compiled.status !== 0) obstacle = `no C compiler for it: ${compiled.stderr ?? ""}`;
  else if (spawnSync(killer, ["0", "/", "true"]).status !== 0)
    obstacle = "this kernel or sandbox does not let us trace system calls";
});
afterAll(() => rmSync(scratch, { recursive: true }));

/** Runs a command on a repository, up to a call; returns whether it was killed, and the calls that there were. */
function runUpTo(nth: number, path: string, command: readonly string[]) {
  const program = [process.execPath, CFSBOOT, ...command, "--repo", path];
  const { status, stdout, stderr } = spawnSync(killer, [`${nth}`, path, ...program], {
    encoding: "utf8",
  });
  if (status !== 0 && status !== KILLED) throw new Error(`exit status ${status}: ${stderr}`);
  return { killed: status === KILLED, calls: Number(stdout.trimEnd().split("\n").at(-1)) };
}

async function pullHere(path: string, name: string): Promise<void> {
  using repository = openRepository(path);
  const directory = join(scratch, name);
  const source = `oci:${directory}`;
  const transport = await openLayout({ transport: "oci", source, directory, tag: undefined });
  await pull(repository, transport, { name: "tag", platform: PLATFORM, bootable: true });
}

function collect(path: string): void {
  using repository = openRepository(path);
  collectGarbage(repository, { prepare: () => completeRewrites(repository) });
}

const pullNew = () => ["image", "pull", `oci:${join(scratch, "new")}`, "tag", "--bootable"];

interface Run {
  readonly what: string;
  /** What was pulled before. */
  readonly before: readonly string[];
  readonly command: () => string[];
}

const RUNS: readonly Run[] = [
  { what: "a pull", before: [], command: pullNew },
  { what: "a pull that updates", before: ["old"], command: pullNew },
  {
    what: "a collection after an update",
    before: ["old", "new"],
    command: () => ["repo", "gc"],
  },
];

test.for(RUNS)(
  "kill -9 during $what",
  { timeout: STRIDE > 0 ? 3_600_000 : 600_000 },
  async ({ before, command }, ctx) => {
    if (obstacle !== undefined) ctx.skip(obstacle);
    const start = makeRepository(join(scratch, "start"));
    for (const name of before) await pullHere(start, name);
    const path = join(scratch, "repo");
    const restart = () => {
      rmSync(path, { recursive: true, force: true });
      cpSync(start, path, { recursive: true, verbatimSymlinks: true });
    };

    restart();
    const { calls } = runUpTo(0, path, command());
    await pullHere(path, "new");
    collect(path);
    const complete = names(path);
    expect(calls).toBeGreaterThan(FILES);

    const stride = STRIDE > 0 ? STRIDE : calls / MOMENTS;
    let killed = 0;
    for (let moment = 1; moment <= calls; moment += stride) {
      restart();
      const nth = Math.round(moment);
      const at = `killed at call ${nth} of ${calls}`;
      if (runUpTo(nth, path, command()).killed) killed++;
      requireIntact(path);
      if (CFSCTL !== undefined) {
        expect(cfsctl(path, "fsck"), at).toMatch(/^status: ok$/m);
        expect(cfsctl(path, "oci", "fsck"), at).toMatch(/^status: ok$/m);
      }
      // what was begun may also be collected first
      if (nth % 2 === 0) collect(path);
      await pullHere(path, "new");
      collect(path);
      requireIntact(path);
      expect(names(path), at).toEqual(complete);
    }
    rmSync(start, { recursive: true });
    rmSync(path, { recursive: true });
    if (STRIDE > 0) console.log(`killed at ${killed} of ${calls} calls`);
    // threads do not take turns in the same way every time: the last calls may not come
    expect(killed).toBeGreaterThan(calls / stride / 2);
  },
);
