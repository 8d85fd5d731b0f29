/** Installs on a block device. Everything on it is destroyed. */
import {
  FSOPEN_CLOEXEC,
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NOSUID,
  O_CLOEXEC,
  O_DIRECTORY,
  O_RDONLY,
} from "../../src/linux/constants.ts";
import { createFile, makeDirectories, openDirectory } from "../../src/linux/directories.ts";
import { createMount } from "../../src/linux/fs-context.ts";
import { HintedError } from "../../src/linux/hint.ts";
import { type Fd, isErrno, type Linux } from "../../src/linux/linux.ts";
import { type BootPlace, espPlace, grubPlace } from "../bootloader/boot-place.ts";
import { openPartition } from "../bootloader/open-place.ts";
import type { Host } from "../deployment/host.ts";
import { bootId } from "../deployment/outcome.ts";
import type { StagePlan } from "../deployment/stage.ts";
import { installContents, type Wanted } from "./contents.ts";
import { type Device, findPartitions } from "./disk-devices.ts";
import type { DiskPlan, PlannedPartition } from "./disk-plan.ts";
import { formatDevice } from "./file-systems.ts";
import { finishFileSystem } from "./finish.ts";
import { GROW_STAMP } from "./grow.ts";
import { formatVolume, type OpenVolume, type Unlocking } from "./luks.ts";
import { makeTable } from "./partition-table.ts";
import { roomOnDisk } from "./room.ts";
import { eraseSignatures } from "./signatures.ts";

/**
 * Carries out a plan on a block device. After an error the table that was made is gone again: what was there before is lost
 * in any case, and the next installation need not be told that it may destroy this one.
 */
export async function installOnDisk(
  linux: Linux,
  plan: DiskPlan,
  wanted: Wanted,
  say: (step: string) => void,
  unlocking: Unlocking,
): Promise<StagePlan> {
  requireFileSystems(linux, plan);
  say("divide the disk");
  makeTable(plan.path, plan, false);
  const made: string[] = [];
  try {
    const devices = await findPartitions(linux, plan);
    made.push(...devices.map(({ device }) => device));
    return await installOnDevices(linux, plan, devices, wanted, say, unlocking);
  } catch (error) {
    eraseSignatures([...made, plan.path]);
    throw error;
  }
}

/** Throws if this kernel cannot mount one of them, before anything is destroyed. */
export function requireFileSystems(linux: Linux, { partitions }: DiskPlan): void {
  for (const type of new Set(partitions.flatMap(({ fileSystem }) => fileSystem ?? []))) {
    try {
      linux.close(linux.fsopen(type, FSOPEN_CLOEXEC));
    } catch (error) {
      if (!isErrno(error, "ENODEV")) throw error;
      throw new HintedError(
        `this kernel cannot mount ${type}`,
        `modprobe ${type}; a file with ext4 is made without mounting it, if it is not --via-loopback`,
        { cause: error },
      );
    }
  }
}

/** The same where the partitions are there. The file systems are mounted where nobody else sees them. */
export async function installOnDevices(
  linux: Linux,
  plan: DiskPlan,
  partitions: readonly Device[],
  wanted: Wanted,
  say: (step: string) => void,
  unlocking: Unlocking,
): Promise<StagePlan> {
  say("make file systems");
  using volume = openVolume(plan, partitions, unlocking);
  const devices = partitions.map(({ partition, device }) =>
    partition.role === "root" && volume
      ? { partition, device: volume.device }
      : { partition, device },
  );
  for (const { partition, device } of devices) formatDevice(device, partition);
  await wanted.goOn();
  const opened: Fd[] = [];
  try {
    const open = (role: PlannedPartition["role"]) => {
      const found = devices.find(({ partition }) => partition.role === role);
      if (found === undefined) return undefined;
      const fd = mountDirectory(linux, found.partition, found.device);
      opened.push(fd);
      return fd;
    };
    const [root, esp, xbootldr] = [open("root"), open("esp"), open("xbootldr")];
    if (root === undefined || esp === undefined) {
      throw new Error("expected a root partition and an ESP");
    }
    makeDirectories(linux, root, "boot", 0o755);
    const place = placeOf(linux, plan, root, xbootldr ?? esp);
    if (place.directory !== (xbootldr ?? esp)) opened.push(place.directory);
    const host: Host = {
      ...{ linux, sysroot: root, sysrootPath: `the root of ${plan.path}`, places: [place] },
      loader: plan.bootLoader === "grub" ? "grub" : "systemd-boot",
      ...{ run: undefined, running: undefined, bootId: bootId(linux) },
    };
    const repositoryPath = `/proc/self/fd/${root}/composefs`;
    const grub = { uuid: plan.root.fileSystemId, separateBoot: false };
    const rooms = roomOnDisk(plan, false);
    const espDevice = devices.find(({ partition }) => partition.role === "esp")?.device;
    const { insecure } = plan;
    const about = { esp, espDevice, xbootldr: xbootldr !== undefined, grub, ...rooms };
    const target = { host, repositoryPath, insecure, ...about };
    const deployed = await installContents(target, wanted, say);
    if (plan.growsLater) createFile(linux, root, GROW_STAMP, [], 0o644);
    for (const fd of [esp, xbootldr, root]) if (fd !== undefined) finishFileSystem(linux, fd);
    return deployed;
  } finally {
    for (const fd of opened.reverse()) linux.close(fd);
  }
}

function openVolume(
  { encryption }: DiskPlan,
  partitions: readonly Device[],
  unlocking: Unlocking,
): OpenVolume | undefined {
  const root = partitions.find(({ partition }) => partition.role === "root");
  if (encryption === undefined || root === undefined) return undefined;
  return formatVolume(root.device, encryption, unlocking);
}

function placeOf(linux: Linux, plan: DiskPlan, root: Fd, boot: Fd): BootPlace {
  if (plan.bootLoader !== "grub") return espPlace(boot, `the boot partition of ${plan.path}`);
  return grubPlace(openDirectory(linux, root, "boot"), `/boot of ${plan.path}`, false);
}

/** A directory to read and write in, unlike the mount itself, which is only a path. */
function mountDirectory(linux: Linux, { fileSystem }: PlannedPartition, device: string): Fd {
  const mount =
    fileSystem === "vfat" || fileSystem === undefined
      ? openPartition(linux, { path: device, fileSystem, mountPoints: [] }, false).directory
      : createMount(linux, fileSystem, [["source", device]], MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
  try {
    return linux.openat(mount, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  } finally {
    linux.close(mount);
  }
}
