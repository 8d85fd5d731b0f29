import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { expect, test } from "vitest";
import { AT_FDCWD, O_CLOEXEC, O_PATH, RESOLVE_BENEATH } from "../../src/linux/constants.ts";
import { linux } from "../../userspace/linux.ts";

const CALLS = 200_000;

/** Renames a file to and fro until it is told to end. */
const RENAMER = `
const { parentPort, workerData } = require("node:worker_threads");
const { renameSync } = require("node:fs");
const [a, b, stop] = [workerData.dir + "/x", workerData.dir + "/y", workerData.stop];
parentPort.postMessage("started");
while (Atomics.load(stop, 0) === 0) {
  renameSync(a, b);
  renameSync(b, a);
}
`;

test("openat2 succeeds while others rename", async () => {
  const dir = mkdtempSync(join(tmpdir(), "race-"));
  const stop = new Int32Array(new SharedArrayBuffer(4));
  mkdirSync(join(dir, "a/b/c"), { recursive: true });
  for (const name of ["x", "file"]) writeFileSync(join(dir, name), "");
  const worker = new Worker(RENAMER, { eval: true, workerData: { dir, stop } });
  const ended = new Promise((resolve) => worker.once("exit", resolve));
  try {
    await new Promise((resolve) => worker.once("message", resolve));
    const root = linux.openat(AT_FDCWD, dir, O_PATH | O_CLOEXEC);
    const how = { flags: O_PATH | O_CLOEXEC, resolve: RESOLVE_BENEATH };
    // Without another try, hundreds of these are EAGAIN.
    expect(() => {
      for (let i = 0; i < CALLS; i++) linux.close(linux.openat2(root, "a/b/c/../../../file", how));
    }).not.toThrow();
    linux.close(root);
  } finally {
    Atomics.store(stop, 0, 1);
    await ended;
    rmSync(dir, { recursive: true, force: true });
  }
});
