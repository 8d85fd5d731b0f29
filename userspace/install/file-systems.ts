/** Makes file systems: on a partition's device, or in a file, where the partition lies in it. */
import type { FileSystem } from "../../src/formats/install-toml.ts";
import type { PlannedPartition } from "./disk-plan.ts";
import { runProgram } from "./programs.ts";

const KIB = 1024;
/** FAT32 needs 65525; some for the tables themselves. */
const FAT32_CLUSTERS = 67000;
const CLUSTER = 4096;

/** Makes a FAT32 in a file. */
export function formatFat(
  file: string,
  { name, fileSystemId, start, size }: PlannedPartition,
  sectorSize: number,
): void {
  const offset = ["--offset", `${start / sectorSize}`];
  const sectors = ["-S", `${sectorSize}`, "-s", `${clusterSize(size, sectorSize) / sectorSize}`];
  const args = [...fatOptions(name, fileSystemId), ...sectors, ...offset, file, `${size / KIB}`];
  runProgram("mkfs.vfat", args);
}

/** Makes an ext4 in a file, with what is in a directory. */
export function formatExt4(
  file: string,
  { name, fileSystemId, start, size }: PlannedPartition,
  directory: string,
): void {
  const fill = ["-d", directory, "-E", `offset=${start},root_owner=0:0`];
  runProgram("mke2fs", [...ext4Options(name, fileSystemId), ...fill, file, `${size / KIB}k`]);
}

/** Makes a file system on the device of a partition. */
export function formatDevice(
  device: string,
  { name, fileSystemId, fileSystem }: PlannedPartition,
): void {
  const format: Readonly<Record<FileSystem | "vfat", () => string>> = {
    vfat: () => runProgram("mkfs.vfat", [...fatOptions(name, fileSystemId), device]),
    ext4: () => runProgram("mke2fs", [...ext4Options(name, fileSystemId), device]),
    btrfs: () => runProgram("mkfs.btrfs", ["-q", "-f", "-L", name, "-U", fileSystemId, device]),
    xfs: () =>
      runProgram("mkfs.xfs", ["-q", "-f", "-L", name, "-m", `uuid=${fileSystemId}`, device]),
  };
  if (fileSystem !== undefined) format[fileSystem]();
}

/** 4 KiB, or less where there would be so few clusters that others took it for FAT16. */
function clusterSize(size: number, sectorSize: number): number {
  let cluster = Math.max(CLUSTER, sectorSize);
  while (cluster > sectorSize && size / cluster < FAT32_CLUSTERS) cluster /= 2;
  return cluster;
}

function fatOptions(name: string, id: string): string[] {
  return ["-F", "32", "-n", name, "-i", id];
}

function ext4Options(name: string, uuid: string): string[] {
  return ["-q", "-F", "-t", "ext4", "-O", "verity", "-L", name, "-U", uuid];
}
