/** Block devices as `lsblk` of util-linux prints them in JSON. */
import { type JsonObject, parseJson } from "./json-document.ts";

/** A block device with those that are made of it: disk, partitions, LUKS, LVM, RAID. */
export interface BlockDevice {
  /** `/dev/sda1` */
  readonly path: string;
  /** `disk`, `part`, `crypt`, `lvm`, `raid1`, `loop` … */
  readonly type: string;
  /** `MAJOR:MINOR` */
  readonly number: string;
  /** Type of a partition, in lower case: a GUID (GPT) or `0x…` (MBR). */
  readonly partitionType: string | undefined;
  readonly fileSystem: string | undefined;
  readonly uuid: string | undefined;
  readonly partitionUuid: string | undefined;
  readonly mountPoints: readonly string[];
  readonly readOnly: boolean;
  /** In bytes. */
  readonly size: number;
  readonly children: readonly BlockDevice[];
}

/** The columns that `parseLsblk` reads; and NAME, without which `lsblk` does not tell what is made of what. */
export const LSBLK_COLUMNS =
  "NAME,PATH,TYPE,MAJ:MIN,PARTTYPE,FSTYPE,UUID,PARTUUID,MOUNTPOINTS,RO,SIZE" as const;

const LIMIT = 16 << 20;
/** Devices that are made of devices that are made of … */
const MAX_DEPTH = 32;

/** Reads what `lsblk --json --bytes --output LSBLK_COLUMNS` prints. */
export function parseLsblk(bytes: Uint8Array): BlockDevice[] {
  const name = "lsblk";
  return parseJson(bytes, name, LIMIT)
    .objects("blockdevices")
    .map((device) => readDevice(device, 0));
}

function readDevice(device: JsonObject, depth: number): BlockDevice {
  if (depth > MAX_DEPTH)
    throw new Error(`lsblk: more than ${MAX_DEPTH} devices on top of each other`);
  const { mountpoints } = device.value;
  return {
    path: device.string("path"),
    type: device.string("type"),
    number: device.string("maj:min").trim(),
    partitionType: device.optionalString("parttype")?.toLowerCase(),
    fileSystem: device.optionalString("fstype"),
    uuid: device.optionalString("uuid"),
    partitionUuid: device.optionalString("partuuid"),
    mountPoints: Array.isArray(mountpoints)
      ? mountpoints.filter((point) => typeof point === "string")
      : [],
    readOnly: device.value.ro === true || device.value.ro === "1",
    size: Number(device.value.size ?? 0),
    children: device.has("children")
      ? device.objects("children").map((child) => readDevice(child, depth + 1))
      : [],
  };
}
