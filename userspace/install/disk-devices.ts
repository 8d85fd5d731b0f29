/** A disk and its partitions as the kernel has them. `sys` stands for `/sys/class/block`. */
import { readFileSync, realpathSync } from "node:fs";
import { basename, join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { AT_FDCWD, O_CLOEXEC, O_EXCL, O_RDONLY } from "../../src/linux/constants.ts";
import { HintedError } from "../../src/linux/hint.ts";
import { isErrno, type Linux } from "../../src/linux/linux.ts";
import type { DiskPlan, PlannedPartition } from "./disk-plan.ts";
import { runProgram } from "./programs.ts";

const SYS = "/sys/class/block";
/** What the kernel counts in, whatever the disk's own sectors are. */
const SECTOR = 512;
/** So long partitions may take to appear, in milliseconds. */
const PATIENCE = 10_000;
const PAUSE = 100;

export interface DiskDevice {
  /** Not a link to it: of a link's name nobody knows what the partitions are called. */
  readonly path: string;
  /** Both in bytes. */
  readonly size: number;
  readonly sectorSize: number;
}

/** What a device is. Throws if it is no disk that can be divided, or if something on it is in use. Changes nothing. */
export function examineDisk(linux: Linux, path: string, sys = SYS): DiskDevice {
  const device = realpathSync(path);
  const about = (name: string) => read(join(sys, basename(device), name));
  if (about("partition") !== undefined) {
    throw new HintedError(
      `${path} is a partition, not a disk`,
      "to-disk divides whole disks; to-filesystem installs into file systems that are there",
    );
  }
  const isMultipath = about("dm/uuid")?.startsWith("mpath-") === true;
  const scans = about("partscan") ?? about("loop/partscan");
  if ((scans === "0" || Number(about("ext_range")) <= 1) && !isMultipath) {
    throw new HintedError(
      `${path} cannot be divided: the kernel makes no partitions of it`,
      "a loop device needs losetup --partscan; the file behind it can be named instead",
    );
  }
  requireUnused(linux, device, path);
  const [size, sectorSize] = [about("size"), about("queue/logical_block_size")].map(Number);
  if (!size || !sectorSize) throw new Error(`${path} has no size: there is no disk in it`);
  return { path: isMultipath ? path : device, size: size * SECTOR, sectorSize };
}

function requireUnused(linux: Linux, device: string, path: string): void {
  try {
    // whoever mounts it, or makes something of it, has it for himself, as with each of its partitions
    linux.close(linux.openat(AT_FDCWD, device, O_RDONLY | O_EXCL | O_CLOEXEC));
  } catch (error) {
    if (isErrno(error, "EACCES", "EPERM")) {
      throw new HintedError(`only root may install on ${path}`, "sudo cfsboot …");
    }
    if (!isErrno(error, "EBUSY")) throw error;
    throw new HintedError(
      `${path} is in use${usersOf(device)}`,
      "nothing of it may be mounted (umount), swapped to (swapoff), or a part of something else",
    );
  }
}

/** Who uses it, for people. */
function usersOf(device: string): string {
  const args = ["--noheadings", "--list", "--output", "PATH,TYPE,MOUNTPOINT", device];
  const users = runProgram("lsblk", args, { accept: [1, 32, 64] })
    .split("\n")
    .flatMap((line) => {
      const [, name, type = "", mountPoint] = /^(\S+) +(\S+) *(.*)$/.exec(line) ?? [];
      if (mountPoint) return [`${name} is mounted on ${mountPoint}`];
      return /^(?:disk|part|loop)?$/.test(type) ? [] : [`${name} is made of it`];
    });
  return users.length === 0 ? "" : `: ${[...new Set(users)].join(", ")}`;
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim();
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "")) {
      return undefined;
    }
    throw error;
  }
}

/** A partition as a device. */
export interface Device {
  readonly partition: PlannedPartition;
  readonly device: string;
}

/** The devices of partitions that were made, when they are there. */
export async function findPartitions(
  linux: Linux,
  { path, partitions }: Pick<DiskPlan, "path" | "partitions">,
): Promise<Device[]> {
  const table = JSON.parse(runProgram("sfdisk", ["--json", path]));
  const nodes: { node: string; uuid: string }[] = table.partitiontable.partitions;
  const devices = partitions.map((partition) => {
    const uuid = partition.partitionUuid.toUpperCase();
    const found = nodes.find((node) => node.uuid.toUpperCase() === uuid);
    if (found === undefined) throw new Error(`${path} has no partition ${partition.name}`);
    return { partition, device: found.node };
  });
  for (const device of devices) await appears(linux, device);
  return devices;
}

async function appears(linux: Linux, { partition, device }: Device): Promise<void> {
  for (let waited = 0; ; waited += PAUSE) {
    try {
      linux.faccessat(AT_FDCWD, device, 0);
      requirePlace(device, partition);
      return;
    } catch (error) {
      if (waited >= PATIENCE) throw new Error(`${device} does not appear`, { cause: error });
    }
    await setTimeout(PAUSE);
  }
}

/** Throws if the kernel has another partition by that name: that of the table that was there before. */
export function requirePlace(
  device: string,
  { start, size }: Pick<PlannedPartition, "start" | "size">,
  sys = SYS,
): void {
  const about = (name: string) => read(join(sys, basename(device), name));
  const place = [about("start"), about("size")];
  if (place[0] === undefined) return; // not by the kernel itself: multipath
  const [from, length] = place.map((sectors) => Number(sectors) * SECTOR);
  if (from === start && length === size) return;
  throw new Error(
    `it begins at ${from} and has ${length} bytes, expected ${size} from ${start} on`,
  );
}
