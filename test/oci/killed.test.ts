/**
 * The program as it is shipped, killed in the middle of a pull: the repository stays sound, the next pull completes it, and
 * garbage collection leaves just what a pull that nobody disturbed would have.
 *
 * The moments are the same every time, as parts of how long a pull takes here. More of them: `CFSBOOT_KILLS=200`.
 */
import { spawn } from "node:child_process";
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { expect, test } from "vitest";
import { Random } from "../fuzz/mutate.ts";
import { temporaryDirectory } from "../repository/fixture.ts";
import { image, tar, writeLayout } from "./fixtures/images.ts";
import { makeRepository, names, requireIntact } from "./fixtures/pulling.ts";

const CFSBOOT = join(import.meta.dirname, "../../dist/cfsboot.mjs");
const KILLS = Number(process.env.CFSBOOT_KILLS ?? 10);
const TIMEOUT = 60_000;
const FILES = 400;

/** An archive with many files, all different. */
function layer(name: string): Buffer {
  const files = Array.from({ length: FILES }, (_, i) => ({
    path: `usr/${name}/${i}`,
    data: `${name} ${i} `.repeat(20 + 7 * i),
  }));
  return tar([{ path: "usr/" }, { path: `usr/${name}/` }, ...files]);
}

/** Runs the program; `killAfter` milliseconds after it has begun to write, if that is given. */
async function run(
  args: readonly string[],
  repo: string,
  killAfter?: number,
): Promise<{ readonly killed: boolean; readonly writing: number }> {
  const child = spawn(process.execPath, [CFSBOOT, ...args, "--repo", repo], {
    stdio: ["ignore", "ignore", "pipe"],
    timeout: TIMEOUT,
    killSignal: "SIGKILL",
  });
  let messages = "";
  child.stderr.on("data", (chunk) => {
    messages += chunk;
  });
  let running = true;
  const ended = new Promise<NodeJS.Signals | null>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (status, signal) => {
      running = false;
      if (status !== null && status !== 0) reject(new Error(`exit status ${status}: ${messages}`));
      else resolve(signal);
    });
  });
  ended.catch(() => {}); // it is looked at below
  while (running && !existsSync(join(repo, "objects"))) await wait(1);
  const began = performance.now();
  if (killAfter !== undefined) {
    await wait(killAfter);
    child.kill("SIGKILL");
  }
  const signal = await ended;
  return { killed: signal === "SIGKILL", writing: performance.now() - began };
}

test(
  "kill -9 at any moment of a pull",
  async () => {
    using directory = temporaryDirectory();
    const layout = join(directory.path, "layout");
    const layers = (["gzip", "zstd", "none"] as const).map((compression) => ({
      tar: layer(compression),
      compression,
    }));
    writeLayout(layout, [{ image: image(layers) }]);
    const pull = ["image", "pull", `oci:${layout}`, "test"];
    const path = join(directory.path, "repo");

    makeRepository(path);
    const { writing } = await run(pull, path);
    await run(["repo", "gc"], path);
    const complete = names(path);
    expect(complete.length).toBeGreaterThan(3 * FILES);

    const random = new Random(1);
    let killed = 0;
    for (let i = 0; i < KILLS; i++) {
      rmSync(path, { recursive: true });
      makeRepository(path);
      const moment = (writing * random.below(1000)) / 1000;
      const outcome = await run(pull, path, moment);
      if (outcome.killed) killed++;
      const at = `killed after ${Math.round(moment)} of ${Math.round(writing)} ms`;
      requireIntact(path);
      await run(pull, path);
      await run(["repo", "gc"], path);
      requireIntact(path);
      expect(names(path), at).toEqual(complete);
    }
    // the moments are guesses; most must have been good ones
    expect(killed).toBeGreaterThan(KILLS / 2);
  },
  TIMEOUT * (3 + KILLS),
);
