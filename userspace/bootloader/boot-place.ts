/** Where boot files are: an open directory of the partition that the boot loader reads, and its paths. */

import type { NewBlsEntry } from "../../src/formats/bls-entry.ts";
import { emptyJournal } from "../../src/linux/journal.ts";
import type { Fd, Linux } from "../../src/linux/linux.ts";
import { isUkiName } from "../../src/model/menu-entry.ts";

export interface BootPlace {
  /** The directory below which everything is: the root of an ESP or XBOOTLDR partition, or `/boot`. */
  readonly directory: Fd;
  /** Its path, for messages. */
  readonly path: string;
  /** Where directories of kernels are, relative to it: `EFI/Linux`, or `.` */
  readonly kernels: string;
  /** Where unified kernel images are, relative to it: where systemd-boot does not list them by itself; absent if none can be there. */
  readonly ukis: string | undefined;
  /** What stands before the name of such a directory in a boot entry: `/EFI/Linux/`, `/boot/`, `/`. */
  readonly prefix: string;
  /** Whether the boot loader may need the menu as a GRUB script, which is kept among the entries. */
  readonly script: boolean;
  /** Whether it has a journal, which no boot loader replays, and may be frozen to empty that. */
  readonly journaled: boolean;
}

/** After a change that the boot loader is to see: it replays no journal. */
export function emptyJournalOf(linux: Linux, { directory, journaled }: BootPlace): void {
  if (journaled) emptyJournal(linux, directory);
}

/** What an entry says to start a kernel of the place by its name. Its command line is that of a UKI, or for `options`. */
export function startLines(
  { prefix, ukis }: BootPlace,
  name: string,
): Pick<NewBlsEntry, "kernel" | "initrds"> {
  // every systemd-boot takes `efi`; the key `uki` came with version 258
  if (isUkiName(name)) return { kernel: { key: "efi", path: `/${ukis}/${name}` } };
  const directory = prefix + name;
  const kernel = { key: "linux", path: `${directory}/vmlinuz` } as const;
  return { kernel, initrds: [`${directory}/initrd`] };
}

/** Modes of what is made there. FAT keeps none, `/boot` does. */
export const DIRECTORY_MODE = 0o755;
export const FILE_MODE = 0o644;

/** The directory of the entries, relative to the place. */
export const ENTRIES = "loader/entries";
/** The directory of the entries that take their place at shutdown. */
export const STAGED_ENTRIES = "loader/entries.staged";

/** The menu as a GRUB script: in the directory of the entries, so that it changes with them. */
export const GRUB_SCRIPT = "cfsboot.cfg";

/** What an ESP holds, for boot loaders that read the Boot Loader Specification from it. */
export function espPlace(directory: Fd, path: string): BootPlace {
  const kernels = "EFI/Linux";
  const prefix = `/${kernels}/`;
  const ukis = `${kernels}/bootc`;
  return { directory, path, kernels, ukis, prefix, script: false, journaled: false };
}

/** What GRUB reads: `/boot`, `separate` if that is a file system of its own. */
export function grubPlace(directory: Fd, path: string, separate: boolean): BootPlace {
  const prefix = separate ? "/" : "/boot/";
  const kernels = { kernels: ".", ukis: undefined, prefix };
  return { directory, path, ...kernels, script: true, journaled: false };
}
