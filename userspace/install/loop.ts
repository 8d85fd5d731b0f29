/** Installs to a file as on a disk: each partition is a loop device, for which the kernel need not know partition tables. */
import { closeSync, existsSync, fsyncSync, openSync, rmSync, truncateSync } from "node:fs";
import { HintedError } from "../../src/linux/hint.ts";
import type { Linux } from "../../src/linux/linux.ts";
import type { StagePlan } from "../deployment/stage.ts";
import type { Wanted } from "./contents.ts";
import { installOnDevices, requireFileSystems } from "./disk.ts";
import type { Device } from "./disk-devices.ts";
import type { DiskPlan } from "./disk-plan.ts";
import type { Unlocking } from "./luks.ts";
import { makeTable } from "./partition-table.ts";
import { runProgram } from "./programs.ts";

/** Throws if somebody else has the file as a disk, whose partitions he may have mounted; or without root, who alone can have. */
export function requireDetached(file: string): void {
  if (process.geteuid?.() !== 0) {
    throw new HintedError(
      "only root may make loop devices",
      "without --via-loopback a file is made without them",
    );
  }
  const args = ["--list", "--noheadings", "--output", "NAME", "--associated", file];
  const devices = existsSync(file) ? runProgram("losetup", args).trim() : "";
  if (devices === "") return;
  throw new HintedError(
    `${file} is in use: it is ${devices.split(/\s+/).join(", ")}`,
    "losetup --detach ends that; or name the loop device instead of the file",
  );
}

/**
 * Carries out a plan. A file that is not there is made. After an error one that was made is gone again, and one that was
 * there has nothing in it.
 */
export async function installByLoop(
  linux: Linux,
  plan: DiskPlan,
  wanted: Wanted,
  say: (step: string) => void,
  unlocking: Unlocking,
): Promise<StagePlan> {
  requireFileSystems(linux, plan);
  const { path, diskSize } = plan;
  const isNew = !existsSync(path);
  closeSync(openSync(path, "a", 0o600));
  try {
    truncateSync(path, diskSize);
    say("divide the file");
    makeTable(path, plan, true);
    const deployed = await withLoops(plan, (devices) =>
      installOnDevices(linux, plan, devices, wanted, say, unlocking),
    );
    syncFile(path);
    return deployed;
  } catch (error) {
    if (isNew) rmSync(path);
    else empty(path, diskSize);
    throw error;
  }
}

/** Each partition is a loop device while `act` goes on. */
async function withLoops<T>(
  { path, partitions, sectorSize }: DiskPlan,
  act: (devices: readonly Device[]) => Promise<T>,
): Promise<T> {
  const devices: Device[] = [];
  try {
    for (const partition of partitions) {
      const { start, size } = partition;
      const piece = ["--offset", `${start}`, "--sizelimit", `${size}`];
      const args = ["--find", "--show", "--sector-size", `${sectorSize}`, ...piece, path];
      devices.push({ partition, device: runProgram("losetup", args).trim() });
    }
    return await act(devices);
  } finally {
    for (const { device } of devices) runProgram("losetup", ["--detach", device]);
  }
}

/** Makes it a file of zeros, which take no room. */
function empty(path: string, size: number): void {
  truncateSync(path, 0);
  truncateSync(path, size);
}

function syncFile(path: string): void {
  const fd = openSync(path, "r+");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
