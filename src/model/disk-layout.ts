/**
 * How a disk is divided for an installation: a GPT with the types of the Discoverable Partitions Specification (UAPI.2), so
 * that the system finds its partitions without being told.
 */
import { formatByteSize } from "../formats/byte-size.ts";

const MIB = 2 ** 20;
const GIB = 2 ** 30;
/** Where partitions begin and end. */
const ALIGNMENT = MIB;
/** For the second copy of the table. */
const END = MIB;
const BIOS_BOOT_SIZE = MIB;
const MIN_FAT = 64 * MIB;
/** FAT32 needs 65525 clusters, of a sector at least; some for the tables themselves. */
export const FAT32_CLUSTERS = 67000;
const MIN_ROOT = 256 * MIB;
export const DEFAULT_ESP_SIZE = GIB;

const ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
const XBOOTLDR = "bc13c2ff-59e6-4262-a352-b275fd6f7172";
const BIOS_BOOT = "21686148-6449-6e6f-744e-656564454649";

interface Architecture {
  /** Type of the root partition. */
  readonly root: string;
  /** What the names of EFI programs end in. */
  readonly efi: string;
}

/** By the names of OCI (and Go). */
const ARCHITECTURES: Readonly<Record<string, Architecture>> = {
  "386": { root: "44479540-f297-41b2-9af7-d131d5f0458a", efi: "ia32" },
  amd64: { root: "4f68bce3-e8cd-4db1-96e7-fbcaf984b709", efi: "x64" },
  arm: { root: "69dad710-2ce4-4e3c-b16c-21a1d49abed3", efi: "arm" },
  arm64: { root: "b921b045-1df0-41c3-af44-4c6f280d3fae", efi: "aa64" },
  loong64: { root: "77055800-792c-4f94-b39a-98c91b762bb6", efi: "loongarch64" },
  riscv64: { root: "72ec70a6-cf74-40e6-bd49-4bda08e8f224", efi: "riscv64" },
};

/** The architecture, by its name in OCI. Throws for one whose machines have no UEFI. */
export function architectureOf(name: string): Architecture {
  if (Object.hasOwn(ARCHITECTURES, name)) return ARCHITECTURES[name]!;
  const known = Object.keys(ARCHITECTURES).join(", ");
  throw new Error(`architecture ${name}: expected one whose machines boot by UEFI: ${known}`);
}

export type PartitionRole = "bios" | "esp" | "xbootldr" | "root";

/** Their GPT names. */
export const PARTITION_NAMES: Readonly<Record<PartitionRole, string>> = {
  bios: "BIOS-BOOT",
  esp: "EFI-SYSTEM",
  xbootldr: "XBOOTLDR",
  root: "root",
};

export interface Partition {
  readonly role: PartitionRole;
  /** Its GPT name. */
  readonly name: string;
  /** Its GPT type. */
  readonly type: string;
  /** In bytes. */
  readonly start: number;
  readonly size: number;
}

export interface LayoutWishes {
  /** As OCI names it. */
  readonly architecture: string;
  /** Of the disk, in bytes; the same for all others. */
  readonly diskSize: number;
  readonly sectorSize: number;
  readonly espSize: number;
  /** Absent: no such partition. */
  readonly xbootldrSize?: number;
  /** Absent: all that is left. */
  readonly rootSize?: number;
  /** What a root must have at least, if that is more than usual. */
  readonly leastRoot?: number;
  /** Whether GRUB shall boot the disk by BIOS, too. */
  readonly bios: boolean;
}

/** The partitions in the disk's order. Throws if the disk is too small, or a partition too small for what it is for. */
export function planPartitions(wishes: LayoutWishes): Partition[] {
  const { architecture, diskSize, sectorSize, espSize, xbootldrSize, rootSize, bios } = wishes;
  const { root } = architectureOf(architecture);
  const partitions: Partition[] = [];
  let start = ALIGNMENT;
  const add = (role: PartitionRole, type: string, wanted: number, least: number) => {
    const name = PARTITION_NAMES[role];
    const size = Math.floor(wanted / ALIGNMENT) * ALIGNMENT;
    if (size < least) {
      const [is, needed] = [Math.max(size, 0), least].map(formatByteSize);
      throw new Error(`the ${name} partition would have ${is}: expected at least ${needed}`);
    }
    partitions.push({ role, name, type, start, size });
    start += size;
  };
  if (bios && architecture === "amd64") add("bios", BIOS_BOOT, BIOS_BOOT_SIZE, MIB);
  const leastFat = Math.max(MIN_FAT, Math.ceil((FAT32_CLUSTERS * sectorSize) / MIB) * MIB);
  add("esp", ESP, espSize, leastFat);
  if (xbootldrSize !== undefined) add("xbootldr", XBOOTLDR, xbootldrSize, leastFat);
  const left = diskSize - END - start;
  if (rootSize !== undefined && rootSize > left) {
    const [wanted, free] = [rootSize, Math.max(left, 0)].map(formatByteSize);
    throw new Error(`the root partition was to have ${wanted}, but ${free} are left on the disk`);
  }
  add("root", root, rootSize ?? left, Math.max(MIN_ROOT, wishes.leastRoot ?? 0));
  return partitions;
}

/** The script for sfdisk(8) that makes the table. `uuids`: of the partitions, in order; `sectorSize` in bytes. */
export function sfdiskScript(
  partitions: readonly Partition[],
  uuids: readonly string[],
  sectorSize: number,
): string {
  const lines = partitions.map(({ name, type, start, size }, i) => {
    const [first, count] = [start / sectorSize, size / sectorSize];
    return `start=${first}, size=${count}, type=${type}, uuid=${uuids[i]}, name="${name}"`;
  });
  return `label: gpt\nunit: sectors\nsector-size: ${sectorSize}\n\n${lines.join("\n")}\n`;
}
