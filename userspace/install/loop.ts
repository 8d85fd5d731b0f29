/** Installs to a file as on a disk, by a loop device. */
import { closeSync, openSync, truncateSync } from "node:fs";
import type { Linux } from "../../src/linux/linux.ts";
import type { StagePlan } from "../deployment/stage.ts";
import type { Wanted } from "./contents.ts";
import { installOnDisk } from "./disk.ts";
import type { DiskPlan } from "./disk-plan.ts";
import { runProgram } from "./programs.ts";

/** Carries out a plan. A file that is not there is made; after an error it stays, half done. */
export async function installByLoop(
  linux: Linux,
  plan: DiskPlan,
  wanted: Wanted,
  say: (step: string) => void,
): Promise<StagePlan> {
  closeSync(openSync(plan.path, "a", 0o600));
  truncateSync(plan.path, plan.diskSize);
  const device = runProgram("losetup", ["--find", "--show", "--partscan", plan.path]).trim();
  try {
    return await installOnDisk(linux, { ...plan, path: device }, wanted, say);
  } finally {
    runProgram("losetup", ["--detach", device]);
  }
}
