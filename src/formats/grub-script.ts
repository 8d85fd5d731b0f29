/**
 * Boot entries as a GRUB script, for a GRUB that does not read the Boot Loader Specification (Debian's has no `blscfg`).
 *
 *     set cfsboot_first='…'
 *     menuentry 'Debian GNU/Linux 13' --id 'bootc_debian-13-1' {
 *       linux '/boot/bootc_composefs-…/vmlinuz' 'rw' 'composefs=…'
 *       initrd '/boot/bootc_composefs-…/initrd'
 *     }
 *
 * In GRUB's single quotes nothing has a meaning but the closing quote.
 */
import type { BlsEntry } from "./bls-entry.ts";
import { splitCmdline } from "./cmdline.ts";

/** What an entry is known by: the name of its file without `.conf`. */
export interface ScriptEntry {
  readonly id: string;
  readonly bls: BlsEntry;
}

/** GRUB's variable for it. */
export const FIRST_DEPLOYMENT = "cfsboot_first";

const HEADER = "# Made by cfsboot of the entries beside it, which it is replaced with.\n";

/**
 * The script of a menu, in its order. Entries that start something other than a Linux kernel are left out. `first` is the
 * deployment of the first one: so GRUB knows whether what it counts is meant.
 */
export function grubScript(entries: readonly ScriptEntry[], first?: string): string {
  const told = first === undefined ? "" : `set ${FIRST_DEPLOYMENT}=${quote(first)}\n`;
  return HEADER + told + entries.map(menuEntry).join("");
}

function menuEntry({ id, bls }: ScriptEntry): string {
  if (bls.kernel?.key !== "linux") return "";
  const lines = [
    `menuentry ${quote(bls.title ?? id)} --id ${quote(id)} {`,
    `  linux ${[bls.kernel.path, ...kernelArguments(bls.options ?? "")].map(quote).join(" ")}`,
  ];
  if (bls.initrds.length > 0) lines.push(`  initrd ${bls.initrds.map(quote).join(" ")}`);
  if (bls.devicetree !== undefined) lines.push(`  devicetree ${quote(bls.devicetree)}`);
  return `${lines.join("\n")}\n}\n`;
}

/**
 * GRUB puts quotes around an argument with spaces by itself, and a backslash before those that are in it, which the
 * kernel would take as they are. So they go here: to the kernel they mean the same anywhere in an argument.
 */
function kernelArguments(options: string): string[] {
  return splitCmdline(options).map((argument) => argument.replaceAll('"', ""));
}

function quote(text: string): string {
  return `'${text.replace(/[\r\n]+/g, " ").replaceAll("'", "'\\''")}'`;
}
