/** Where the partitions of a disk image are. */
import { execFileSync } from "node:child_process";

export interface DiskPartition {
  readonly name: string;
  /** In bytes. */
  readonly start: number;
  readonly size: number;
}

/** In the disk's order. */
export function partitionsOf(disk: string): DiskPartition[] {
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
  const { partitiontable: table } = JSON.parse(
    execFileSync("sfdisk", ["--json", disk], { encoding: "utf8", env }),
  ) as {
    partitiontable: {
      sectorsize: number;
      partitions: { name: string; start: number; size: number }[];
    };
  };
  return table.partitions.map(({ name, start, size }) => ({
    name,
    start: start * table.sectorsize,
    size: size * table.sectorsize,
  }));
}

/** The one of this name, of an installed disk. */
export function partitionNamed(disk: string, name: "EFI-SYSTEM" | "XBOOTLDR" | "root") {
  const found = partitionsOf(disk).find((one) => one.name === name);
  if (found === undefined) throw new Error(`${disk} has no partition ${name}`);
  return found;
}
