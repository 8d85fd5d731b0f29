/** Installs into file systems that somebody has made and mounted: what they are, and whether they may be used. */
import { existsSync, readdirSync, readFileSync, realpathSync, statSync } from "node:fs";
import { join } from "node:path";
import { fromText, toText } from "../../src/formats/bytestring.ts";
import { parseArgument, splitCmdline } from "../../src/formats/cmdline.ts";
import type { BootLoader } from "../../src/formats/install-toml.ts";
import { type MountInfo, mountAt, parseMountInfo } from "../../src/formats/mountinfo.ts";
import { AT_FDCWD } from "../../src/linux/constants.ts";
import { openDirectory } from "../../src/linux/directories.ts";
import { HintedError } from "../../src/linux/hint.ts";
import type { Fd, Linux } from "../../src/linux/linux.ts";
import { describeMeasured, measureVerity } from "../../src/linux/verity.ts";
import { openExplicitHost } from "../deployment/explicit-host.ts";
import type { StagePlan } from "../deployment/stage.ts";
import { installContents, type Wanted } from "./contents.ts";
import { finishFileSystem } from "./finish.ts";
import type { GrubPlace } from "./grub.ts";
import { runProgram } from "./programs.ts";
import { MADE, NOTE_FILES, readUnfinished } from "./unfinished.ts";

/** Where EFI system partitions are mounted, below the root. */
const ESP_PLACES = ["efi", "boot/efi", "boot"];

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
}

/**
 * Decides. Throws if the root is no mount, is not empty, has no fs-verity, or if there is no place for the boot loader.
 * Changes nothing.
 */
export function planMounted(linux: Linux, wishes: MountedWishes): MountedPlan {
  const root = realpathSync(wishes.root);
  const mounts = parseMountInfo(readFileSync("/proc/self/mountinfo"));
  const mounted = (path: string) => mountAt(mounts, fromText(path));
  const mount = mounted(root);
  if (mount === undefined) throw new Error(`${root} is not a mount point`);
  using opened = openPath(linux, root);
  const resumed = readUnfinished(linux, opened.fd) !== undefined;
  if (!wishes.alongside) requireEmpty(root, mounts, resumed ? MADE : NOTE_FILES);
  const insecure = wishes.insecure || mount.type === "xfs";
  // a repository that is there stays as it is
  if (!insecure && (resumed || !existsSync(join(root, "composefs")))) {
    requireVerity(linux, opened.fd, root);
  }
  const { bootLoader, kargs } = wishes;
  const given = wishes.esp === undefined ? undefined : realpathSync(wishes.esp);
  const esp =
    given ??
    ESP_PLACES.map((place) => join(root, place)).find((path) => mounted(path)?.type === "vfat");
  if (esp === undefined && bootLoader !== "none") {
    throw new HintedError(
      `no EFI system partition is mounted below ${root}`,
      `mount it on ${root}/boot/efi, or name its directory by --esp`,
    );
  }
  const varPath = join(root, "var");
  const separateVar = wishes.alongside ? undefined : mounted(varPath);
  const separate = bootLoader === "grub" ? mounted(join(root, "boot")) : undefined;
  return {
    ...{ root, rootFileSystem: mount.type, esp, bootLoader },
    espDevice: esp === undefined ? undefined : deviceOf(mounted(esp)),
    separateVar: separateVar && varPath,
    boot: bootLoader === "grub" ? undefined : esp,
    kargs: [
      ...rootKargs(root, mount, wishes),
      ...(separateVar === undefined ? [] : varKargs(varPath, separateVar)),
      ...(separate === undefined ? [] : bootKargs(join(root, "boot"), separate, wishes)),
      ...kargs,
    ],
    ...{ insecure, resumed },
    grub: {
      uuid: bootLoader === "grub" ? uuidOf(separate === undefined ? root : join(root, "boot")) : "",
      separateBoot: separate !== undefined,
    },
  };
}

function deviceOf(mount: MountInfo | undefined): string | undefined {
  const source = mount && toText(mount.source);
  return source?.startsWith("/dev/") ? source : undefined;
}

/** For people, a step a line. */
export function describeMounted(plan: MountedPlan): string[] {
  const { root, esp, bootLoader, kargs, insecure, separateVar, resumed } = plan;
  return [
    `install into ${root}; nothing in it is removed`,
    ...(resumed ? ["go on with what an installation that was not finished has left there"] : []),
    ...(separateVar === undefined ? [] : [`/var is what is mounted on ${separateVar}`]),
    bootLoader === "none" || esp === undefined
      ? "install no boot loader"
      : `install ${bootLoader === "grub" ? "GRUB" : "systemd-boot"} on ${esp}`,
    `kernel arguments besides the image's own: ${kargs.join(" ")}`,
    ...(insecure ? ["without fs-verity: the kernel does not check what it reads"] : []),
  ];
}

/** Carries out a plan. `finish`: the file systems are trimmed, and frozen for a moment, at the end. */
export async function installMounted(
  linux: Linux,
  { root, esp, espDevice, boot, bootLoader, insecure, grub, separateVar }: MountedPlan,
  wanted: Wanted,
  finish: boolean,
  say: (step: string) => void,
): Promise<StagePlan> {
  const nothing = { run: undefined, running: undefined };
  const loader = bootLoader === "grub" ? "grub" : "systemd-boot";
  if (boot === undefined) makeBoot(linux, root);
  const places = boot === undefined ? [] : [boot];
  using host = openExplicitHost(linux, { sysroot: root, boot: places, loader, ...nothing });
  using system =
    esp === undefined
      ? undefined
      : openExplicitHost(linux, { sysroot: esp, boot: [esp], loader: "systemd-boot", ...nothing });
  const repositoryPath = join(root, "composefs");
  const rooms = {
    rootRoom: { name: root, hint: "what is there may go, or the file system must be larger" },
    bootRoom: { name: host.places[0].path, hint: "--esp may name another, larger one" },
  };
  using mountedVar = separateVar === undefined ? undefined : openPath(linux, separateVar);
  const target = {
    ...{ host, repositoryPath, insecure, esp: system?.sysroot, espDevice, grub, ...rooms },
    ...(mountedVar && { mountedVar: mountedVar.fd }),
  };
  const deployed = await installContents(target, wanted, say);
  if (finish) {
    for (const fd of [system?.sysroot, mountedVar?.fd, host.sysroot]) {
      if (fd !== undefined) finishFileSystem(linux, fd);
    }
  }
  return deployed;
}

function openPath(linux: Linux, path: string): Disposable & { readonly fd: Fd } {
  const fd = openDirectory(linux, AT_FDCWD, path);
  return { fd, [Symbol.dispose]: () => linux.close(fd) };
}

function makeBoot(linux: Linux, root: string): void {
  if (statSync(join(root, "boot"), { throwIfNoEntry: false }) !== undefined) return;
  linux.mkdirat(AT_FDCWD, join(root, "boot"), 0o755);
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

function rootKargs(root: string, mount: MountInfo, wishes: MountedWishes): string[] {
  const { rootMountSpec, inherited } = wishes;
  if (rootMountSpec === "") return ["rw"];
  if (rootMountSpec === undefined && inherited !== undefined) {
    const kept = splitCmdline(inherited).filter((karg) => isAboutRoot(parseArgument(karg).key));
    if (kept.some((karg) => karg.startsWith("root="))) return [...kept, "rw"];
  }
  const subvolume = toText(mount.root);
  const flags =
    mount.type === "btrfs" && subvolume !== undefined && subvolume !== "/"
      ? [`rootflags=subvol=${subvolume.slice(1)}`]
      : [];
  return [
    `root=${rootMountSpec ?? `UUID=${uuidOf(root, "--root-mount-spec does without")}`}`,
    ...flags,
    "rw",
  ];
}

function isAboutRoot(name: string): boolean {
  return name === "root" || name === "rootflags" || name === "rootfstype" || name.startsWith("rd.");
}

function bootKargs(path: string, { type }: MountInfo, { bootMountSpec }: MountedWishes): string[] {
  if (bootMountSpec === "") return [];
  const spec = bootMountSpec ?? `UUID=${uuidOf(path, "--boot-mount-spec does without")}`;
  return [`systemd.mount-extra=${spec}:/boot:${type}:ro`];
}

/** The system mounts it over the `/var` that all deployments share otherwise. */
function varKargs(path: string, { type }: MountInfo): string[] {
  return [
    `systemd.mount-extra=UUID=${uuidOf(path, "unmount it, or put a file system there that has one")}:/var:${type}`,
  ];
}

function uuidOf(path: string, hint = "--bootloader systemd does without"): string {
  const args = ["--noheadings", "--output", "UUID", "--mountpoint", path];
  const uuid = runProgram("findmnt", args, { accept: [1] })
    .trim()
    .split("\n")
    .at(-1);
  if (uuid) return uuid;
  throw new HintedError(`what is mounted on ${path} has no UUID`, hint);
}
