/** Which partitions the boot loader reads: those on the disks that the root file system lies on. */

import type { BlockDevice } from "../formats/lsblk.ts";

/** Discoverable Partitions Specification (UAPI.2), and MBR's types of the same. */
const ESP = ["c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "0xef"];
/** Old firmware takes a FAT16 partition for it, too; and so does bootc. */
const ESP_OR_FAT = [...ESP, "0x6", "0x06"];
const XBOOTLDR = ["bc13c2ff-59e6-4262-a352-b275fd6f7172", "0xea"];

interface Partition {
  /** As `BlockDevice` has it. */
  readonly partitionType: string | undefined;
}

/** Which of these is the EFI system partition: one of its type, or else one whose type does not say that it is another. */
export function chooseEsp<T extends Partition>(candidates: readonly T[]): T | undefined {
  return candidates.find((one) => hasType(one, ESP)) ?? candidates.find((one) => !isXbootldr(one));
}

/** Whether it is an extended boot loader partition, which firmware does not look into. */
export function isXbootldr(partition: Partition): boolean {
  return hasType(partition, XBOOTLDR);
}

function hasType({ partitionType }: Partition, types: readonly string[]): boolean {
  return partitionType !== undefined && types.includes(partitionType);
}

/** The type of a partition, by its number (`MAJOR:MINOR`); `undefined` if it has none or is no partition. */
export function partitionTypeOf(
  devices: readonly BlockDevice[],
  number: string,
): string | undefined {
  return devices.flatMap((device) => path(device, number)).at(-1)?.partitionType;
}

export interface BootPartitions {
  /** EFI system partitions, one for each disk, in the order of the disks. */
  readonly esps: readonly BlockDevice[];
  /** Extended boot loader partitions. */
  readonly xbootldrs: readonly BlockDevice[];
  /** Whether the root file system's device can be written to. */
  readonly readOnly: boolean;
}

/**
 * The boot partitions of the disks below the device `root` (`MAJOR:MINOR`): all of them, if the root is a RAID or a
 * volume that several disks make up.
 */
export function findBootPartitions(devices: readonly BlockDevice[], root: string): BootPartitions {
  const disks = devices.filter((device) => contains(device, root));
  const within = (disk: BlockDevice, types: readonly string[]) =>
    disk.children.find((device) => device.type === "part" && hasType(device, types));
  const present = (found: (BlockDevice | undefined)[]) =>
    found.filter((device): device is BlockDevice => device !== undefined);
  return {
    esps: present(disks.map((disk) => within(disk, ESP) ?? within(disk, ESP_OR_FAT))),
    xbootldrs: present(disks.map((disk) => within(disk, XBOOTLDR))),
    readOnly: disks.some((disk) => path(disk, root).some((device) => device.readOnly)),
  };
}

function contains(device: BlockDevice, number: string): boolean {
  return path(device, number).length > 0;
}

/** The devices from `device` down to the one with this number; empty if it is not there. */
function path(device: BlockDevice, number: string): BlockDevice[] {
  if (device.number === number) return [device];
  for (const child of device.children) {
    const found = path(child, number);
    if (found.length > 0) return [device, ...found];
  }
  return [];
}
