/** What an installation will do to a disk, decided before anything is destroyed. */
import { randomBytes, randomUUID } from "node:crypto";
import type { BootLoader, FileSystem } from "../../src/formats/install-toml.ts";
import { type LayoutWishes, type Partition, planPartitions } from "../../src/model/disk-layout.ts";
import {
  ENCRYPTED_ROOT,
  type Encryption,
  encryptionKargs,
  LUKS_RESERVE,
  type Opener,
} from "../../src/model/encryption.ts";

/** mkfs.xfs(8) makes none that is smaller. */
const LEAST_XFS = 300 << 20;

/** One partition and what is made in it. */
export interface PlannedPartition extends Partition {
  /** Of the partition, in the table. */
  readonly partitionUuid: string;
  /** `bios`: none. */
  readonly fileSystem: FileSystem | "vfat" | undefined;
  /** Of the file system: a UUID, or the eight digits of a FAT one. */
  readonly fileSystemId: string;
}

export interface DiskPlan {
  /** The device or file. */
  readonly path: string;
  readonly diskSize: number;
  readonly sectorSize: number;
  readonly partitions: readonly PlannedPartition[];
  readonly root: PlannedPartition;
  /** Of the root; absent: it is not encrypted. */
  readonly encryption: Encryption | undefined;
  readonly bootLoader: BootLoader;
  /** Kernel arguments, besides the image's own: how the root is found comes first. */
  readonly kargs: readonly string[];
  /** Whether the kernel checks what is read only from the first boot on. */
  readonly sealedLater: boolean;
  /** Whether the root takes what is left of a larger disk at the first boot. */
  readonly growsLater: boolean;
  /** Whether it is never checked. */
  readonly insecure: boolean;
  /** What may not be as expected, for people. */
  readonly remarks: readonly string[];
}

export interface DiskWishes extends Omit<LayoutWishes, "bios" | "leastRoot"> {
  readonly path: string;
  readonly fileSystem: FileSystem;
  readonly bootLoader: BootLoader;
  readonly kargs: readonly string[];
  /** What opens the root; absent: it is not encrypted. */
  readonly opener: Opener | undefined;
  /** Whether the root is found by its partition's type; otherwise an argument names it. */
  readonly discoverable: boolean;
  /** What that argument says instead of the UUID; empty: there is none. */
  readonly rootMountSpec: string | undefined;
  readonly sealedLater: boolean;
  readonly growsLater: boolean;
  /** Whether it does without fs-verity even where the file system has it. */
  readonly insecure: boolean;
}

export function planDisk(wishes: DiskWishes): DiskPlan {
  const { path, diskSize, sectorSize, fileSystem, bootLoader, sealedLater, opener } = wishes;
  const header = opener === undefined ? 0 : LUKS_RESERVE;
  const layout = planPartitions({
    ...wishes,
    bios: bootLoader === "grub",
    ...(fileSystem === "xfs" && { leastRoot: LEAST_XFS + header }),
  });
  const partitions = layout.map((partition): PlannedPartition => {
    const { role } = partition;
    const isFat = role === "esp" || role === "xbootldr";
    return {
      ...partition,
      partitionUuid: randomUUID(),
      fileSystem: role === "root" ? fileSystem : isFat ? "vfat" : undefined,
      fileSystemId: isFat ? randomBytes(4).toString("hex").toUpperCase() : randomUUID(),
    };
  });
  const root = partitions.find(({ role }) => role === "root")!;
  const encryption = opener && { opener, uuid: randomUUID() };
  return {
    ...{ path, diskSize, sectorSize, partitions, root, encryption, bootLoader },
    kargs: [...rootKargs(root.fileSystemId, encryption, wishes), ...wishes.kargs],
    ...{
      sealedLater,
      growsLater: wishes.growsLater,
      insecure: wishes.insecure || fileSystem === "xfs",
      remarks: remarksOn(bootLoader, partitions),
    },
  };
}

function remarksOn(bootLoader: BootLoader, partitions: readonly Partition[]): string[] {
  if (bootLoader !== "grub" || !partitions.some(({ role }) => role === "xbootldr")) return [];
  return [
    "GRUB does not use that extended boot loader partition: its kernels are in /boot of the root",
  ];
}

/** How the initramfs finds the root. It is writable: what is mounted read-only of it is decided there. */
function rootKargs(
  uuid: string,
  encryption: Encryption | undefined,
  { discoverable, rootMountSpec }: DiskWishes,
): string[] {
  if (rootMountSpec === "" || (rootMountSpec === undefined && discoverable)) return ["rw"];
  const device = encryption === undefined ? `UUID=${uuid}` : ENCRYPTED_ROOT;
  const opened = encryption === undefined ? [] : encryptionKargs(encryption);
  return [...opened, `root=${rootMountSpec ?? device}`, "rw"];
}
