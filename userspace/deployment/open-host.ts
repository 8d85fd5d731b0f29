/** Opens the running machine: what runs, the physical root, the boot partitions, the boot loader. */
import { ascii, fromBytes, fromText, toText } from "../../src/formats/bytestring.ts";
import { efiText } from "../../src/formats/efi-variable.ts";
import type { BlockDevice } from "../../src/formats/lsblk.ts";
import { type MountInfo, mountAt, parseMountInfo } from "../../src/formats/mountinfo.ts";
import {
  AT_FDCWD,
  LOCK_EX,
  LOCK_NB,
  O_CLOEXEC,
  O_CREAT,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_RDONLY,
  O_RDWR,
  S_IFBLK,
  S_IFMT,
  ST_RDONLY,
} from "../../src/linux/constants.ts";
import { ifThere, openDirectory } from "../../src/linux/directories.ts";
import { readFile } from "../../src/linux/files.ts";
import { HintedError } from "../../src/linux/hint.ts";
import { type Fd, isErrno, type Linux } from "../../src/linux/linux.ts";
import { openWritable } from "../../src/linux/writable-mount.ts";
import { findBootPartitions } from "../../src/model/boot-partitions.ts";
import type { StateDirectory } from "../../src/model/deployments.ts";
import { type Loader, loaderOf } from "../../src/model/loader.ts";
import { findRunning, type Running } from "../../src/model/running.ts";
import { listBlockDevices } from "../bootloader/block-devices.ts";
import { type BootPlace, grubPlace } from "../bootloader/boot-place.ts";
import { inUse, openPartition } from "../bootloader/open-place.ts";
import type { Host } from "./host.ts";
import { leadingFirst } from "./in-step.ts";
import { bootId } from "./outcome.ts";
import { readState } from "./state.ts";

const SYSROOT = "/sysroot";
const RUN = "/run/composefs";
const LOCK = "cfsboot.lock";
const LOADER_INFO = "/sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
const MAX_PROC = 16 << 20;
const MAX_VARIABLE = 1 << 16;

/** "write": alone, until it is closed, and everything can be written. "read": nothing is written, others do not wait. */
export type Access = "read" | "write";

/** The running machine. `close` ends what was opened. */
export interface OpenHost extends Disposable {
  readonly host: Host;
  /** The path of its repository, which can be written to where the machine can: `/sysroot` itself is read-only. */
  readonly repositoryPath: string;
  /** Whether its disk cannot be written to. */
  readonly readOnly: boolean;
}

/** What runs was not booted with composefs. */
export class NotDeployedError extends HintedError {}

/**
 * Opens the running machine. Throws a `NotDeployedError` where what runs was not booted with composefs, and
 * an error if there is no boot partition. `onWait` is called if another process changes the machine's deployments now.
 */
export function openHost(linux: Linux, access: Access, onWait?: () => void): OpenHost {
  const { mounts, running, cmdline } = requireRunning(linux);
  if (access === "write" && linux.geteuid() !== 0) {
    throw new HintedError("only root may change what is booted", "sudo cfsboot …");
  }
  const opened: Fd[] = [];
  const close = () => {
    for (const fd of opened.splice(0).reverse()) linux.close(fd);
  };
  const keep = (fd: Fd): Fd => {
    opened.push(fd);
    return fd;
  };
  try {
    const sysroot = keep(openSysroot(linux, access));
    const readOnly =
      access === "read"
        ? isReadOnlyDisk(linux, mounts)
        : (linux.fstatfs(sysroot).flags & ST_RDONLY) !== 0;
    if (access === "write" && readOnly) {
      throw new Error("the disk cannot be written to: is this a live system?");
    }
    const run = openRun(linux, access);
    if (run !== undefined) keep(run);
    if (run !== undefined && access === "write") keep(lock(linux, run, onWait));
    const { loader, places } = openPlaces(linux, mounts, sysroot, access === "read");
    for (const place of places) keep(place.directory);
    const { id, insecure } = running;
    const found: Host = {
      linux,
      sysroot,
      sysrootPath: SYSROOT,
      places,
      loader,
      run,
      running: { id, insecure },
      cmdline,
      bootId: bootId(linux),
    };
    const host: Host = { ...found, places: leadingFirst(found, id) };
    const repositoryPath = `/proc/self/fd/${sysroot}/composefs`;
    return { host, repositoryPath, readOnly, [Symbol.dispose]: close };
  } catch (error) {
    close();
    throw error;
  }
}

/** The state of what runs; absent where that cannot be read. Needs no privileges where they are not asked for there. */
export function readRunningState(linux: Linux, id: string): StateDirectory | undefined {
  try {
    const sysroot = openSysroot(linux, "read");
    try {
      return readState(linux, sysroot, id);
    } finally {
      linux.close(sysroot);
    }
  } catch {
    return undefined; // of a status it is what could be seen besides
  }
}

/** What runs, and all mounts. Throws a `NotDeployedError` where that was not booted with composefs. */
export function requireRunning(linux: Linux): {
  readonly mounts: readonly MountInfo[];
  readonly running: Running;
  readonly cmdline: string;
} {
  const mounts = parseMountInfo(readFile(linux, AT_FDCWD, "/proc/self/mountinfo", MAX_PROC));
  const cmdline = toText(fromBytes(readFile(linux, AT_FDCWD, "/proc/cmdline", MAX_PROC))) ?? "";
  const running = findRunning(mounts, cmdline);
  if (running.id !== undefined) return { mounts, running, cmdline: cmdline.trim() };
  throw new NotDeployedError(
    `this system has no deployments: ${running.why}`,
    "cfsboot install puts an image on a disk",
  );
}

/**
 * The physical root by a mount of our own: in the running system it is mounted read-only, so that nothing changes it by
 * accident.
 */
function openSysroot(linux: Linux, access: Access): Fd {
  if (access === "write") return openWritable(linux, SYSROOT);
  return linux.openat(AT_FDCWD, SYSROOT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/** Whether who would write could not: the file system is read-only, and so is the device that it is on. */
function isReadOnlyDisk(linux: Linux, mounts: readonly MountInfo[]): boolean {
  const mount = mountAt(mounts, fromText(SYSROOT));
  if (mount === undefined || !mount.superOptions.includes(ascii("ro"))) return false;
  const file = `/sys/dev/block/${mount.major}:${mount.minor}/ro`;
  const bytes = ifThere(() => readFile(linux, AT_FDCWD, file, MAX_VARIABLE));
  return bytes !== undefined && fromBytes(bytes).trim() === "1";
}

/** The directory of this boot's records; to look, there need be none. */
function openRun(linux: Linux, access: Access): Fd | undefined {
  const open = () => openDirectory(linux, AT_FDCWD, RUN);
  const there = ifThere(open);
  if (there !== undefined || access === "read") return there;
  linux.mkdirat(AT_FDCWD, RUN, 0o755);
  return open();
}

/** One process at a time changes deployments. */
function lock(linux: Linux, run: Fd, onWait: (() => void) | undefined): Fd {
  const fd = linux.openat(run, LOCK, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0o600);
  try {
    linux.flock(fd, LOCK_EX | LOCK_NB);
  } catch (error) {
    if (!isErrno(error, "EAGAIN")) throw error;
    onWait?.();
    linux.flock(fd, LOCK_EX);
  }
  return fd;
}

/** The boot loader, and the partitions that it reads. */
function openPlaces(
  linux: Linux,
  mounts: readonly MountInfo[],
  sysroot: Fd,
  readOnly: boolean,
): { loader: Loader; places: readonly [BootPlace, ...BootPlace[]] } {
  const loader = loaderOf(readLoaderInfo(linux)) ?? "grub";
  if (loader === "grub") {
    const separate =
      mountAt(mounts, fromText(`${SYSROOT}/boot`)) ?? mountAt(mounts, fromText("/boot"));
    const boot =
      separate === undefined
        ? openBelow(linux, sysroot, "boot")
        : openMounted(linux, separate, readOnly);
    const place = grubPlace(boot, `${SYSROOT}/boot`, separate !== undefined);
    return { loader, places: [{ ...place, journaled: true }] };
  }
  const partitions = findBootPartitions(listBlockDevices(), rootDevice(linux, mounts));
  const open = (devices: readonly BlockDevice[]) =>
    devices.map((device) => openPartition(linux, device, readOnly));
  const { esps, xbootldrs } = partitions;
  // Where there is an extended boot loader partition, entries and kernels are there (Boot Loader Specification); but bootc
  // knows none.
  const [first, ...rest] =
    xbootldrs.length > 0 ? inUse(linux, open(xbootldrs), () => open(esps)) : open(esps);
  if (first === undefined) {
    throw new HintedError(
      "there is no EFI system partition on the disk of the root file system",
      "lsblk -o NAME,PARTTYPENAME,MOUNTPOINTS shows what there is",
    );
  }
  return { loader, places: [first, ...rest] };
}

function readLoaderInfo(linux: Linux): string | undefined {
  try {
    return efiText(readFile(linux, AT_FDCWD, LOADER_INFO, MAX_VARIABLE));
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR", "EACCES")) return undefined;
    throw error;
  }
}

function openBelow(linux: Linux, directory: Fd, name: string): Fd {
  return linux.openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/** A file system that is mounted somewhere. */
function openMounted(linux: Linux, { mountPoint }: MountInfo, readOnly: boolean): Fd {
  const path = toText(mountPoint);
  if (path === undefined) throw new Error("the mount point of /boot is not UTF-8");
  if (!readOnly) return openWritable(linux, path);
  return linux.openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/** `MAJOR:MINOR` of the block device below the physical root; btrfs has one of its own, so its source is looked at. */
function rootDevice(linux: Linux, mounts: readonly MountInfo[]): string {
  const mount = mountAt(mounts, fromText(SYSROOT));
  if (mount === undefined) throw new Error(`nothing is mounted on ${SYSROOT}`);
  const source = toText(mount.source);
  if (source?.startsWith("/dev/")) {
    const stat = linux.statx(AT_FDCWD, source, 0);
    if ((stat.mode & S_IFMT) === S_IFBLK) return `${stat.rdevMajor}:${stat.rdevMinor}`;
  }
  return `${mount.major}:${mount.minor}`;
}
