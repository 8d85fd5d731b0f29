/** Kernel arguments by which a system finds again what somebody has mounted for its installation. */
import { toText } from "../../src/formats/bytestring.ts";
import { parseArgument, splitCmdline } from "../../src/formats/cmdline.ts";
import type { MountInfo } from "../../src/formats/mountinfo.ts";
import { HintedError } from "../../src/linux/hint.ts";
import { runProgram } from "./programs.ts";

/** Something that is mounted: where, and what. */
export interface Mounted {
  readonly path: string;
  readonly mount: MountInfo;
}

/** `spec`: what `root=` says; empty: there is none; absent: the UUID. */
export function rootArguments(root: Mounted, spec: string | undefined): string[] {
  if (spec === "") return ["rw"];
  const source = spec ?? sourceOf(root, "--root-mount-spec does without");
  const flags = subvolumeOf(root.mount).map((option) => `rootflags=${option}`);
  return [`root=${source}`, ...flags, "rw"];
}

/**
 * The arguments about the root of the system that runs, `cmdline`, for another one on the same; `undefined` if it has none.
 * Throws if `root` is not what they name.
 */
export function inheritedArguments(root: Mounted, cmdline: string): string[] | undefined {
  const kept = splitCmdline(cmdline).filter((karg) => isAboutRoot(parseArgument(karg).key));
  const spec = kept.map(parseArgument).find(({ key }) => key === "root")?.value;
  if (spec === undefined) return undefined;
  const [, running] = /^UUID=(.*)$/.exec(spec) ?? [];
  const uuid = findUuid(root.path);
  if (running !== undefined && uuid !== "" && uuid.toLowerCase() !== running.toLowerCase()) {
    throw new HintedError(
      `${root.path} is not the root of the system that runs: its UUID is ${uuid}, expected ${running}`,
      "to-filesystem with --replace alongside installs beside a system that does not run",
    );
  }
  return [...kept, "rw"];
}

function isAboutRoot(name: string): boolean {
  if (["root", "rootflags", "rootfstype"].includes(name)) return true;
  return name.startsWith("rd.") || name.startsWith("luks.");
}

/** For a `/boot` of its own; `spec` as for the root. The system mounts it read-only. */
export function bootArguments(boot: Mounted, spec: string | undefined): string[] {
  if (spec === "") return [];
  const source = spec ?? sourceOf(boot, "--boot-mount-spec does without");
  const options = ["ro", ...subvolumeOf(boot.mount)];
  return [`systemd.mount-extra=${source}:/boot:${boot.mount.type}:${options.join(",")}`];
}

/** For a `/var` of its own: the system mounts it over the one that all deployments share otherwise. */
export function varArguments(own: Mounted): string[] {
  const source = sourceOf(own, "unmount it, or put a file system there that has one");
  const parts = [source, "/var", own.mount.type, ...subvolumeOf(own.mount)];
  return [`systemd.mount-extra=${parts.join(":")}`];
}

/** The UUID of what is mounted, of which a part cannot be named. `hint`: what to do without one. */
function sourceOf({ path, mount }: Mounted, hint: string): string {
  const part = toText(mount.root) ?? "a part";
  if (part !== "/" && mount.type !== "btrfs") {
    throw new HintedError(`what is mounted on ${path} is ${part} of a file system, not all`, hint);
  }
  return `UUID=${uuidOf(path, hint)}`;
}

/** The mount option for a subvolume of btrfs, if it is one. */
function subvolumeOf({ type, root, superOptions }: MountInfo): string[] {
  const path = toText(root);
  if (type !== "btrfs" || path === "/") return [];
  // what would have to be quoted has a number, too
  const number = superOptions.map(toText).find((option) => option?.startsWith("subvolid="));
  if (path !== undefined && /^[\w@./+-]+$/.test(path)) return [`subvol=${path.slice(1)}`];
  return number === undefined ? [] : [number];
}

/** The UUID of what is mounted somewhere. Throws if it has none. */
export function uuidOf(path: string, hint: string): string {
  const uuid = findUuid(path);
  if (uuid !== "") return uuid;
  throw new HintedError(`what is mounted on ${path} has no UUID`, hint);
}

function findUuid(path: string): string {
  const args = ["--noheadings", "--output", "UUID", "--mountpoint", path];
  return (
    runProgram("findmnt", args, { accept: [1] })
      .trim()
      .split("\n")
      .at(-1) ?? ""
  );
}
