/**
 * Opens boot partitions. They are mounted detached, where nobody sees them and nothing keeps them busy once they are closed,
 * also when they are mounted somewhere, or would be by an automount.
 */
import type { BlockDevice } from "../../src/formats/lsblk.ts";
import {
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_RDONLY,
} from "../../src/linux/constants.ts";
import { createMount, type FsSetting, isRefused } from "../../src/linux/fs-context.ts";
import type { Fd, Linux } from "../../src/linux/linux.ts";
import { makeWritable } from "../../src/linux/writable-mount.ts";
import { type BootPlace, ENTRIES, espPlace } from "./boot-place.ts";
import { readMenu } from "./entries.ts";

/** Nobody but root has business in it: it holds the random seed, among others. */
const FAT_OPTIONS: readonly FsSetting[] = [
  ["fmask", "0177"],
  ["dmask", "0077"],
];

/** Mounts an EFI system partition, or an extended boot loader partition, which may have another file system. */
export function openPartition(
  linux: Linux,
  device: Pick<BlockDevice, "path" | "fileSystem" | "mountPoints">,
  readOnly: boolean,
): BootPlace {
  const type = device.fileSystem ?? "vfat";
  const settings: FsSetting[] = [["source", device.path], ...(type === "vfat" ? FAT_OPTIONS : [])];
  const attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
  const [mountPoint] = device.mountPoints;
  try {
    const mount = readOnly
      ? mountReadOnly(linux, type, settings, attributes)
      : mountWritable(linux, type, settings, attributes, mountPoint);
    const place = espPlace(mount, mountPoint ?? device.path);
    return { ...place, journaled: type !== "vfat" };
  } catch (error) {
    throw new Error(`boot partition ${device.path}`, { cause: error });
  }
}

/** The places, or, if there is no menu of ours, but one in the `others`, which a boot loader also reads, those. */
export function inUse(
  linux: Linux,
  places: readonly BootPlace[],
  others: () => readonly BootPlace[],
): readonly BootPlace[] {
  if (haveMenu(linux, places)) return places;
  const second = others();
  const [used, unused] = haveMenu(linux, second) ? [second, places] : [places, second];
  for (const { directory } of unused) linux.close(directory);
  return used;
}

function haveMenu(linux: Linux, places: readonly BootPlace[]): boolean {
  return places.some((place) => (readMenu(linux, place, ENTRIES, () => true)?.own.length ?? 0) > 0);
}

/** So often it is tried to mount what others have mounted read-only, and so long is waited each time, in milliseconds. */
const ATTEMPTS = 50;
const PAUSE = 100;

/**
 * Where it is mounted read-only for everybody to see, as bootc configures it, the file system is made writable, not that mount.
 * Who only looks at it, as `status` does, has it mounted read-only for a moment: then this waits.
 */
function mountWritable(
  linux: Linux,
  type: string,
  settings: readonly FsSetting[],
  attributes: number,
  mountPoint: string | undefined,
): Fd {
  for (let attempt = 1; ; attempt++) {
    try {
      return createMount(linux, type, settings, attributes);
    } catch (error) {
      if (!isRefused(error, "EBUSY") || attempt === ATTEMPTS) throw error;
    }
    if (attempt === 1 && mountPoint !== undefined && makeWritable(linux, mountPoint)) continue;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PAUSE);
  }
}

/** A file system that is mounted already is writable or not for all; where it is, only this mount is read-only. */
function mountReadOnly(
  linux: Linux,
  type: string,
  settings: readonly FsSetting[],
  attributes: number,
): Fd {
  try {
    return createMount(linux, type, [...settings, ["ro", true]], attributes);
  } catch (error) {
    if (!isRefused(error, "EBUSY")) throw error;
    return createMount(linux, type, settings, attributes | MOUNT_ATTR_RDONLY);
  }
}
