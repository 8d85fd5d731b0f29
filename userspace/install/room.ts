/** Whether what is to be installed fits, decided before it is written. */
import { lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { freeSpace } from "../../src/linux/free-space.ts";
import { HintedError } from "../../src/linux/hint.ts";
import type { Fd, Linux } from "../../src/linux/linux.ts";
import { LOADER_SIZE, MENU_SIZE } from "../../src/model/boot-room.ts";
import type { Partition } from "../../src/model/disk-layout.ts";
import { LUKS_RESERVE } from "../../src/model/encryption.ts";
import { megabytes } from "../../src/model/size-text.ts";
import type { DiskPlan } from "./disk-plan.ts";

const BLOCK = 4096;
/** What of an ext4 is left for files, beside inodes and journal. */
const EXT4_SHARE = 0.94;
/** In an update the boot loader is there already. */
const BESIDE_KERNELS = MENU_SIZE + LOADER_SIZE;

/** Where something is to fit, and what gives it more room. */
export interface Room {
  /** For people. */
  readonly name: string;
  /** In bytes; absent: what the file system says. */
  readonly size?: number;
  readonly hint: string;
}

/** Room on the partitions of a disk. `sized`: what fits there is not for a file system to say, as there is none yet. */
export function roomOnDisk(
  { path, partitions, root, bootLoader, encryption }: DiskPlan,
  sized: boolean,
): { readonly rootRoom: Room; readonly bootRoom: Room } {
  const on = ({ name, size }: Partition, share: number, hint: string): Room => ({
    name: `the ${name} partition of ${path}`,
    ...(sized && { size: Math.floor(size * share) }),
    hint,
  });
  const rootRoom = on(
    encryption === undefined ? root : { ...root, size: root.size - LUKS_RESERVE },
    EXT4_SHARE,
    "--root-size, or a larger disk (--size of a file), gives more",
  );
  if (bootLoader === "grub") return { rootRoom, bootRoom: rootRoom };
  const xbootldr = partitions.find(({ role }) => role === "xbootldr");
  const esp = partitions.find(({ role }) => role === "esp")!;
  const bootRoom =
    xbootldr === undefined
      ? on(esp, 1, "--esp-size makes the partition larger")
      : on(xbootldr, 1, "--xbootldr makes the partition larger");
  return { rootRoom, bootRoom };
}

/** Throws if a directory does not fit into the file system that is made of it. */
export function requireFits(directory: string, room: Room): void {
  const needed = sizeOf(directory);
  if (room.size !== undefined && needed > room.size)
    throw tooSmall(room, `the system has ${megabytes(needed)}`, room.size);
}

/** In whole blocks; hard links count each time, but there are none of large files. */
function sizeOf(path: string): number {
  const stat = lstatSync(path);
  const own = Math.ceil(stat.size / BLOCK) * BLOCK;
  if (!stat.isDirectory()) return own;
  return readdirSync(path).reduce((sum, name) => sum + sizeOf(join(path, name)), BLOCK);
}

/** Throws if a disk will not even have room for an image's layers as they are transported, of `bytes` in all. */
export function requireDiskRoom(plan: DiskPlan, bytes: number): void {
  const { rootRoom } = roomOnDisk(plan, true);
  requireLayers(bytes, rootRoom, rootRoom.size ?? 0);
}

/** The same of a directory in which the root is. */
export function requireRootRoom(linux: Linux, root: Fd, bytes: number, room: Room): void {
  requireLayers(bytes, room, freeSpace(linux, root));
}

function requireLayers(bytes: number, room: Room, free: number): void {
  if (bytes > free) throw tooSmall(room, `the image has ${megabytes(bytes)}, compressed`, free);
}

/**
 * Throws if a boot partition has no room for a kernel with its initramfs, of `size` bytes, or not for another one beside it,
 * as the first update brings it; that may be forced.
 */
export function requireKernelRoom(
  linux: Linux,
  directory: Fd,
  size: number,
  room: Room,
  force: boolean,
): void {
  const free = room.size ?? freeSpace(linux, directory);
  const what = `kernel and initramfs have ${megabytes(size)}`;
  if (size + BESIDE_KERNELS > free) throw tooSmall(room, what, free);
  if (force || 2 * size + BESIDE_KERNELS <= free) return;
  throw tooSmall(room, `${what}, and an update needs room for others beside them`, free);
}

function tooSmall({ name, hint }: Room, what: string, free: number): HintedError {
  return new HintedError(`not enough room on ${name}: ${what}; ${megabytes(free)} are free`, hint);
}
