/** What a boot loader finds on a disk, read from outside. */
import { type SpawnSyncReturns, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { parseGrubEnv } from "../../src/formats/grubenv.ts";
import { grubCounter } from "../../src/model/grub-counter.ts";
import { partitionNamed } from "./disk-partitions.ts";
import { blocksOf, readUnreplayed } from "./ext4.ts";
import type { Installation } from "./install.ts";
import type { Part } from "./write-log.ts";

type Loader = Installation["loader"];

export interface BootEntry {
  /** With the number of tries, if they are counted. */
  readonly file: string;
  /** The deployment; a `?` before it if fs-verity is not required. */
  readonly id: string;
  /** SHA-256 of `linux` and `initrd`, if they are there. */
  readonly kernel: readonly (string | undefined)[];
}

/** The menu of an installed disk. What cannot be read is none. */
export function bootMenu(disk: string, loader: Loader): BootEntry[] {
  return loader === "systemd" ? systemdMenu(disk) : grubMenu(disk);
}

/** Where on the disk the names are that lead a boot loader to its menu. */
export function menuParts(disk: string, loader: Loader): readonly Part[] {
  if (loader === "systemd") return [partitionNamed(disk, "EFI-SYSTEM")];
  const root = partitionNamed(disk, "root");
  return ["/boot/loader", "/boot/grub"].flatMap((path) => blocksOf(disk, path, root.start));
}

function systemdMenu(disk: string): BootEntry[] {
  const image = `${disk}@@${partitionNamed(disk, "EFI-SYSTEM").start}`;
  const listed = mtools("mdir", image, "::loader/entries");
  const names = listed.stdout.toString().split("\n").filter(Boolean).sort();
  const read = (path: string) => {
    const { status, stdout } = mtools("mtype", image, `::${path}`);
    return status === 0 ? stdout : undefined;
  };
  return names.map((name) => {
    const path = name.replace(/^::/, "");
    const text = read(path)?.toString() ?? "";
    return entryOf(path.replace(/^.*\//, ""), text, read);
  });
}

/** GRUB knows nothing of a journal: what is only there is not there for it. */
function grubMenu(disk: string): BootEntry[] {
  const { start } = partitionNamed(disk, "root");
  const read = (path: string) => readUnreplayed(disk, path, start);
  const script = read("/boot/loader/entries/cfsboot.cfg")?.toString() ?? "";
  const first = /^set cfsboot_first='(.*)'$/m.exec(script)?.[1];
  const counter = counterOf(read("/boot/grub/grubenv"));
  const tries = counter?.id === first ? `+${counter?.tries.left}` : "";
  const entries = [...script.matchAll(/^menuentry .* --id '(.*)' \{\n([^}]*)\n\}$/gm)];
  return entries.map(([, name = "", text = ""], i) =>
    entryOf(i === 0 ? `${name}${tries}` : name, text, read),
  );
}

function counterOf(environment: Buffer | undefined) {
  try {
    return environment && grubCounter(parseGrubEnv(environment, "grubenv"));
  } catch {
    return undefined; // GRUB takes no notice of it either
  }
}

function entryOf(
  file: string,
  text: string,
  read: (path: string) => Buffer | undefined,
): BootEntry {
  const kernel = ["linux", "initrd"].map((key) => {
    const path = new RegExp(`^ *${key} +'?([^\\s']+)`, "m").exec(text)?.[1];
    const content = path === undefined ? undefined : read(path);
    return content && createHash("sha256").update(content).digest("hex");
  });
  const id = /\bcomposefs=(\??[0-9a-f]+)/.exec(text)?.[1] ?? "";
  return { file, id, kernel };
}

function mtools(program: string, image: string, path: string): SpawnSyncReturns<Buffer> {
  // without -b, mdir prints what it likes
  const args = ["-i", image, ...(program === "mdir" ? ["-b"] : []), path];
  const env = { ...process.env, MTOOLS_SKIP_CHECK: "1" };
  return spawnSync(program, args, { maxBuffer: 1 << 28, env });
}
