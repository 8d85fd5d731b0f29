/** What an installation will do in file systems that somebody has made and mounted: what they are, and whether they may be used. */
import { existsSync, readdirSync, readFileSync, realpathSync } from "node:fs";
import { join } from "node:path";
import { fromText, toText } from "../../src/formats/bytestring.ts";
import type { BootLoader } from "../../src/formats/install-toml.ts";
import { type MountInfo, mountAt, parseMountInfo } from "../../src/formats/mountinfo.ts";
import { AT_FDCWD } from "../../src/linux/constants.ts";
import { withDirectory } from "../../src/linux/directories.ts";
import { HintedError } from "../../src/linux/hint.ts";
import type { Fd, Linux } from "../../src/linux/linux.ts";
import { describeMeasured, measureVerity } from "../../src/linux/verity.ts";
import { openerOf } from "../../src/model/encryption.ts";
import { listBlockDevices } from "../bootloader/block-devices.ts";
import type { GrubPlace } from "./grub.ts";
import {
  bootArguments,
  inheritedArguments,
  type Mounted,
  rootArguments,
  uuidOf,
  varArguments,
} from "./mount-arguments.ts";
import { ESP_PLACES, findEsp } from "./mounted-esp.ts";
import { runProgram } from "./programs.ts";
import { MADE, NOTE_FILES, readUnfinished } from "./unfinished.ts";

export interface MountedWishes {
  /** The directory on which the root is mounted. */
  readonly root: string;
  /** That of the EFI system partition; absent: one of the usual ones. */
  readonly esp: string | undefined;
  /** Whether there may be something in the root, which stays. */
  readonly alongside: boolean;
  readonly bootLoader: BootLoader;
  readonly kargs: readonly string[];
  /** What `root=` says; empty: there is none; absent: the UUID of what is mounted. */
  readonly rootMountSpec: string | undefined;
  /** The same of a `/boot` of its own. */
  readonly bootMountSpec: string | undefined;
  /** The kernel arguments of the system that runs: those about the root are taken over, if there is no `rootMountSpec`. */
  readonly inherited: string | undefined;
  readonly insecure: boolean;
}

export interface MountedPlan {
  readonly root: string;
  /** The type of what is mounted there. */
  readonly rootFileSystem: string;
  readonly esp: string | undefined;
  /** Its device, if it has one. */
  readonly espDevice: string | undefined;
  /** Where a file system of its own for `/var` is mounted. */
  readonly separateVar: string | undefined;
  /** What the boot loader reads entries from; absent: `/boot` of the root. */
  readonly boot: string | undefined;
  readonly bootLoader: BootLoader;
  readonly kargs: readonly string[];
  readonly insecure: boolean;
  readonly grub: GrubPlace;
  /** Whether there is something of an installation that was not finished. */
  readonly resumed: boolean;
  /** What may keep the system from booting, for people. */
  readonly remarks: readonly string[];
}

/**
 * Decides. Throws if the root is no mount, is not empty, has no fs-verity, or if there is no place for the boot loader.
 * Changes nothing.
 */
export function planMounted(linux: Linux, wishes: MountedWishes): MountedPlan {
  const { bootLoader, kargs } = wishes;
  const root = realpathSync(wishes.root);
  for (const place of [...ESP_PLACES, "var"]) wakeAutomount(join(root, place));
  const mounts = parseMountInfo(readFileSync("/proc/self/mountinfo"));
  const mounted = (path: string): Mounted | undefined => {
    const mount = mountAt(mounts, fromText(path));
    return mount && { path, mount };
  };
  const rootMount = mounted(root);
  if (rootMount === undefined) throw new Error(`${root} is not a mount point`);
  const { type } = rootMount.mount;
  const opened = <T>(look: (fd: Fd) => T) => withDirectory(linux, AT_FDCWD, root, look);
  const resumed = opened((fd) => readUnfinished(linux, fd)) !== undefined;
  if (!wishes.alongside) requireEmpty(root, mounts, resumed ? MADE : NOTE_FILES);
  const insecure = wishes.insecure || type === "xfs";
  // a repository that is there stays as it is
  if (!insecure && (resumed || !existsSync(join(root, "composefs")))) {
    opened((fd) => requireVerity(linux, fd, root));
  }
  const esp = findEsp(root, wishes, mounted, listBlockDevices);
  const ownVar = wishes.alongside ? undefined : mounted(join(root, "var"));
  const ownBoot = bootLoader === "grub" ? mounted(join(root, "boot")) : undefined;
  const options = [
    ...aboutRoot(rootMount, wishes),
    ...(ownVar === undefined ? [] : varArguments(ownVar)),
    ...(ownBoot === undefined ? [] : bootArguments(ownBoot, wishes.bootMountSpec)),
    ...kargs,
  ];
  return {
    ...{ root, rootFileSystem: type, bootLoader, insecure, resumed },
    esp: esp?.path,
    espDevice: deviceOf(esp?.mount),
    separateVar: ownVar?.path,
    boot: bootLoader === "grub" ? undefined : esp?.path,
    kargs: options,
    remarks: [...remarksOnEsp(esp), ...remarksOnRoot(rootMount, options)],
    grub: {
      uuid: bootLoader === "grub" ? grubUuid(ownBoot ?? rootMount) : "",
      separateBoot: ownBoot !== undefined,
    },
  };
}

/** What is mounted by an automount is only there when somebody looks into it. */
function wakeAutomount(path: string): void {
  existsSync(`${path}/.`);
}

function aboutRoot(root: Mounted, { rootMountSpec, inherited }: MountedWishes): string[] {
  const kept =
    rootMountSpec === undefined && inherited !== undefined
      ? inheritedArguments(root, inherited)
      : undefined;
  return kept ?? rootArguments(root, rootMountSpec);
}

function remarksOnEsp(esp: Mounted | undefined): string[] {
  if (esp === undefined || esp.mount.type === "vfat") return [];
  return [`${esp.path} is ${esp.mount.type}: firmware reads FAT only`];
}

function remarksOnRoot(root: Mounted, kargs: readonly string[]): string[] {
  const device = deviceOf(root.mount);
  if (device === undefined || openerOf(kargs.join(" ")) !== undefined) return [];
  const uuid = findVolume(device);
  if (uuid === undefined) return [];
  return [
    `${root.path} is encrypted, and nothing tells the initramfs to open it: --karg rd.luks.uuid=${uuid}`,
  ];
}

/** The UUID of the encrypted volume that a device is in, if it is in one. */
function findVolume(device: string): string | undefined {
  const columns = ["--noheadings", "--list", "--inverse", "--output", "FSTYPE,UUID"];
  const output = runProgram("lsblk", [...columns, device], { accept: [1, 32, 64] });
  return /^crypto_LUKS +(\S+)$/m.exec(output)?.[1];
}

/** GRUB reads a file system from its beginning, also one of which only a part is mounted. */
function grubUuid({ path, mount }: Mounted): string {
  const hint = "--bootloader systemd does without";
  if (toText(mount.root) === "/") return uuidOf(path, hint);
  throw new HintedError(
    `GRUB would not find what is mounted on ${path}: it is ${toText(mount.root)} of a file system, not all`,
    hint,
  );
}

function deviceOf(mount: MountInfo | undefined): string | undefined {
  const source = mount && toText(mount.source);
  return source?.startsWith("/dev/") ? source : undefined;
}

/** Throws if no file there can have fs-verity. */
function requireVerity(linux: Linux, fd: Fd, root: string): void {
  const measured = measureVerity(linux, fd, "sha512");
  if (measured.state !== "unsupported") return;
  throw new HintedError(
    `${root}: ${describeMeasured(measured)}`,
    "tune2fs -O verity gives it to an ext4; --allow-missing-verity does without: the kernel checks nothing then",
  );
}

/** Mount points are no content, nor are directories that lead to some, an empty `boot`, or what has the names of `ours`. */
function requireEmpty(root: string, mounts: readonly MountInfo[], ours: readonly string[]): void {
  const points = new Set(mounts.map(({ mountPoint }) => toText(mountPoint)));
  const content = (directory: string): string | undefined => {
    for (const entry of readdirSync(directory, { withFileTypes: true })) {
      const path = join(directory, entry.name);
      if (points.has(path)) continue;
      if (directory === root && ["lost+found", ...ours].includes(entry.name)) continue;
      if (!entry.isDirectory()) return path;
      if (path === join(root, "boot") && readdirSync(path).length === 0) continue;
      if (![...points].some((point) => point?.startsWith(`${path}/`))) return path;
      const found = content(path);
      if (found !== undefined) return found;
    }
    return undefined;
  };
  const found = content(root);
  if (found === undefined) return;
  throw new HintedError(
    `${root} is not empty: there is ${found}`,
    "--replace alongside installs beside what is there",
  );
}
