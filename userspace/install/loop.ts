/** Installs to a file as on a disk: each partition is a loop device, for which the kernel need not know partition tables. */
import { closeSync, existsSync, openSync, rmSync, truncateSync } from "node:fs";
import type { Linux } from "../../src/linux/linux.ts";
import type { StagePlan } from "../deployment/stage.ts";
import type { Wanted } from "./contents.ts";
import { type Device, installOnDevices, requireFileSystems } from "./disk.ts";
import type { DiskPlan } from "./disk-plan.ts";
import type { Unlocking } from "./luks.ts";
import { makeTable } from "./partition-table.ts";
import { runProgram } from "./programs.ts";
import { eraseSignatures } from "./signatures.ts";

/**
 * Carries out a plan. A file that is not there is made. After an error one that was made is gone again, and one that was
 * there is blank.
 */
export async function installByLoop(
  linux: Linux,
  plan: DiskPlan,
  wanted: Wanted,
  say: (step: string) => void,
  unlocking: Unlocking,
): Promise<StagePlan> {
  requireFileSystems(linux, plan);
  const isNew = !existsSync(plan.path);
  let isDivided = false;
  const devices: Device[] = [];
  try {
    closeSync(openSync(plan.path, "a", 0o600));
    truncateSync(plan.path, plan.diskSize);
    say("divide the file");
    makeTable(plan.path, plan, true);
    isDivided = true;
    for (const partition of plan.partitions) {
      const { start, size } = partition;
      const piece = ["--offset", `${start}`, "--sizelimit", `${size}`];
      const sectors = ["--sector-size", `${plan.sectorSize}`];
      const args = ["--find", "--show", ...sectors, ...piece, plan.path];
      devices.push({ partition, device: runProgram("losetup", args).trim() });
    }
    return await installOnDevices(linux, plan, devices, wanted, say, unlocking);
  } catch (error) {
    if (isNew) rmSync(plan.path, { force: true });
    else if (isDivided) eraseSignatures([plan.path]);
    throw error;
  } finally {
    for (const { device } of devices) runProgram("losetup", ["--detach", device]);
  }
}
