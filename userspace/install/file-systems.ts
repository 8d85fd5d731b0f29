/** Makes file systems: on a partition's device, or in a file, where the partition lies in it. */
import type { FileSystem } from "../../src/formats/install-toml.ts";
import { FAT32_CLUSTERS } from "../../src/model/disk-layout.ts";
import type { DiskPlan, PlannedPartition } from "./disk-plan.ts";
import { runProgram } from "./programs.ts";

const KIB = 1024;
const CLUSTER = 4096;

/** The programs that make them. */
const FORMATTERS = {
  vfat: "mkfs.vfat",
  ext4: "mke2fs",
  btrfs: "mkfs.btrfs",
  xfs: "mkfs.xfs",
} as const satisfies Readonly<Record<FileSystem | "vfat", string>>;

/** The programs that carry a plan out, wherever the disk is. */
export function programsOf({ partitions, encryption }: DiskPlan): string[] {
  return [
    "sfdisk",
    ...partitions.flatMap(({ fileSystem }) => (fileSystem ? [FORMATTERS[fileSystem]] : [])),
    ...(encryption === undefined ? [] : ["cryptsetup"]),
    ...(encryption?.opener === "tpm2" ? ["systemd-cryptenroll"] : []),
  ];
}

/** Makes a FAT32 in a file. */
export function formatFat(
  file: string,
  { name, fileSystemId, start, size }: PlannedPartition,
  sectorSize: number,
): void {
  const offset = ["--offset", `${start / sectorSize}`];
  const sectors = ["-S", `${sectorSize}`, "-s", `${clusterSize(size, sectorSize) / sectorSize}`];
  const args = [...fatOptions(name, fileSystemId), ...sectors, ...offset, file, `${size / KIB}`];
  runProgram(FORMATTERS.vfat, args);
}

/** Makes an ext4 in a file, with what is in a directory. */
export function formatExt4(
  file: string,
  { name, fileSystemId, start, size }: PlannedPartition,
  directory: string,
): void {
  const fill = ["-d", directory, "-E", `offset=${start},root_owner=0:0`];
  runProgram(FORMATTERS.ext4, [
    ...ext4Options(name, fileSystemId),
    ...fill,
    file,
    `${size / KIB}k`,
  ]);
}

/** Makes a file system on the device of a partition. */
export function formatDevice(
  device: string,
  { name, fileSystemId, fileSystem }: PlannedPartition,
): void {
  if (fileSystem === undefined) return;
  const options: Readonly<Record<FileSystem | "vfat", readonly string[]>> = {
    vfat: fatOptions(name, fileSystemId),
    ext4: ext4Options(name, fileSystemId),
    btrfs: ["-q", "-f", "-L", name, "-U", fileSystemId],
    xfs: ["-q", "-f", "-L", name, "-m", `uuid=${fileSystemId}`],
  };
  runProgram(FORMATTERS[fileSystem], [...options[fileSystem], device]);
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
