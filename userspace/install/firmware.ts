/** Tells the firmware of the machine that installs which boot loader to start, by efibootmgr(8). */
import { existsSync, readFileSync, realpathSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { runProgram } from "./programs.ts";

export interface BootOption {
  /** The device of the EFI system partition. */
  readonly partition: string;
  /** Of the boot loader, below `EFI`, with slashes. */
  readonly path: string;
  /** What the firmware's menu calls it. */
  readonly label: string;
}

/** Whether this machine was booted by UEFI, and its boot entries can be changed. `sys` stands for `/sys`. */
export function hasFirmware(sys = "/sys"): boolean {
  return existsSync(join(sys, "firmware/efi/efivars"));
}

/** Whether firmware will see a device: not what is behind a file, or on another machine. */
export function isFound(device: string): boolean {
  return !/^\/dev\/(?:loop|nbd)/.test(existsSync(device) ? realpathSync(device) : device);
}

/** Puts a boot loader first in the firmware's order, unless the firmware has the same one already. */
export function tellFirmware({ partition, path, label }: BootOption, sys = "/sys"): void {
  const entry = join(sys, "class/block", basename(realpathSync(partition)));
  const number = join(entry, "partition");
  if (!existsSync(number)) throw new Error(`${partition} is no partition of a disk`);
  const disk = `/dev/${basename(dirname(realpathSync(entry)))}`;
  const loader = `\\EFI\\${path.replaceAll("/", "\\")}`;
  const uuid = runProgram("lsblk", ["--noheadings", "--nodeps", "--output", "PARTUUID", partition]);
  if (isKnown(runProgram("efibootmgr", ["--verbose"]), uuid.trim(), loader)) return;
  const where = ["--disk", disk, "--part", readFileSync(number, "utf8").trim()];
  runProgram("efibootmgr", ["--quiet", "--create", ...where, "--loader", loader, "--label", label]);
}

/** Of each entry efibootmgr shows the partition's UUID and the path. */
function isKnown(shown: string, uuid: string, loader: string): boolean {
  if (uuid === "") return false;
  const has = (line: string, text: string) => line.toLowerCase().includes(text.toLowerCase());
  return shown.split("\n").some((line) => has(line, uuid) && has(line, loader));
}
