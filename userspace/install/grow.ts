/**
 * The first boot of a machine whose disk was made as a file: the disk may be larger than the file was. The root's partition
 * gets what is behind it, and its file system gets what the partition has.
 */
import { readdirSync, readFileSync, realpathSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { HintedError } from "../../src/linux/hint.ts";
import { runProgram } from "./programs.ts";

/** Below the physical root: the root is to grow when the machine boots. `cfsboot-grow.service` waits for it. */
export const GROW_STAMP = "state/grow-at-first-boot";

const SECTOR = 512;
const MIB = 2 ** 20;
/** Less than that is no reason to write a partition table: the table's second copy, and what partitions are aligned to. */
const WORTH = 4 * MIB;
/** What a header of LUKS2 takes, and more. */
const HEADER = 32 * MIB;

/** The partition of the root, in bytes. */
export interface RootPartition {
  /** The device of its disk. */
  readonly disk: string;
  readonly number: number;
  readonly size: number;
  /** What is behind it up to the end of the disk; 0 if another partition is. */
  readonly free: number;
  /** The size of the encrypted volume in it that is mounted; absent: it is mounted itself. */
  readonly volume: number | undefined;
}

/**
 * The partition that a mounted device is, or that it is in; `undefined` if that cannot be told, as for a whole disk or a volume on
 * several. `sys` is `/sys/class/block`.
 */
export function findRootPartition(device: string, sys: string): RootPartition | undefined {
  const own = realpathSync(join(sys, basename(device)));
  const isVolume = has(own, "dm");
  const below = isVolume ? readdirSync(join(own, "slaves")) : [basename(device)];
  if (below.length !== 1) return undefined;
  const partition = realpathSync(join(sys, below[0]!));
  if (!has(partition, "partition")) return undefined;
  const disk = dirname(partition);
  const start = number(partition, "start");
  const others = readdirSync(disk).filter((name) => has(join(disk, name), "partition"));
  const isLast = others.every((name) => number(join(disk, name), "start") <= start);
  const size = number(partition, "size");
  return {
    disk: `/dev/${basename(disk)}`,
    number: number(partition, "partition"),
    size: size * SECTOR,
    free: isLast ? (number(disk, "size") - start - size) * SECTOR : 0,
    volume: isVolume ? number(own, "size") * SECTOR : undefined,
  };
}

function has(directory: string, name: string): boolean {
  return statSync(join(directory, name), { throwIfNoEntry: false }) !== undefined;
}

function number(directory: string, name: string): number {
  return Number(readFileSync(join(directory, name), "utf8"));
}

/** Gives the partition what is behind it. Returns whether there was something. */
export function growPartition({ disk, number, free }: RootPartition): boolean {
  if (free < WORTH) return false;
  // the disk is in use; the kernel is told of this partition alone
  const quietly = ["--quiet", "--no-reread", "--no-tell-kernel"];
  runProgram("sfdisk", [...quietly, "-N", `${number}`, disk], { input: ", +\n" });
  runProgram("partx", ["--update", "--nr", `${number}`, disk]);
  return true;
}

/** Whether an encrypted volume is smaller than its partition: it gets the rest when it is opened next. */
export function isVolumeBehind({ size, volume }: RootPartition): boolean {
  return volume !== undefined && volume < size - HEADER;
}

const GROWFS = ["/usr/lib/systemd/systemd-growfs", "/lib/systemd/systemd-growfs"];

/** Gives the file system that is mounted somewhere, perhaps to be read only, what its device has. */
export function growFileSystem(mountPoint: string): void {
  const program = GROWFS.find((path) => statSync(path, { throwIfNoEntry: false }) !== undefined);
  if (program === undefined) {
    throw new HintedError("the program systemd-growfs is missing", "it is a part of systemd");
  }
  // in a mount namespace of its own, in which it can be written to
  const script = 'mount -o remount,bind,rw "$1" && exec "$2" "$1"';
  const namespace = ["--mount", "--propagation", "private", "--", "sh", "-c", script, "sh"];
  runProgram("unshare", [...namespace, mountPoint, program]);
}
