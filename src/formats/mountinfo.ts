/**
 * `/proc/PID/mountinfo`, proc_pid_mountinfo(5): what is mounted where.
 *
 *     36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
 *
 * White space and backslashes in names stand as `\` and three octal digits.
 */
import { type ByteString, display, fromBytes } from "./bytestring.ts";

export interface MountInfo {
  readonly id: number;
  /** The mount that it is mounted on; of the topmost one something that is not in the list. */
  readonly parent: number;
  readonly major: number;
  readonly minor: number;
  /** What of the file system is mounted: `/` for all of it. */
  readonly root: ByteString;
  /** Where, as seen by the process. */
  readonly mountPoint: ByteString;
  /** Of this mount: `ro`, `nosuid` … */
  readonly options: readonly string[];
  /** `shared:1`, `master:2` … */
  readonly propagation: readonly string[];
  readonly type: string;
  /** `composefs:…`, `/dev/vda2`; may be empty. */
  readonly source: ByteString;
  /** Of the file system. */
  readonly superOptions: readonly ByteString[];
}

/** The mounts in the file's order: a later one hides an earlier one at the same place. Errors name the line. */
export function parseMountInfo(bytes: Uint8Array): MountInfo[] {
  const lines = fromBytes(bytes).split("\n");
  if (lines.at(-1) === "") lines.pop();
  return lines.map((line, i) => {
    const mount = parseLine(line);
    if (mount !== undefined) return mount;
    const shown = display(line.slice(0, 200) as ByteString);
    throw new Error(`mountinfo: line ${i + 1}: expected a mount, not "${shown}"`);
  });
}

/** What is mounted at a place, on top of all else there. Names of the place must be as the kernel has it. */
export function mountAt(mounts: readonly MountInfo[], place: ByteString): MountInfo | undefined {
  return mounts.filter(({ mountPoint }) => mountPoint === place).at(-1);
}

function parseLine(line: string): MountInfo | undefined {
  const fields = line.split(" ");
  const separator = fields.indexOf("-", 6);
  const [id, parent, device, root, mountPoint, options] = fields;
  const [type, source, superOptions = ""] = fields.slice(separator + 1);
  const [, major, minor] = /^(\d{1,10}):(\d{1,10})$/.exec(device ?? "") ?? [];
  const isNumber = (field: string | undefined) => /^\d{1,10}$/.test(field ?? "");
  if (!isNumber(id) || !isNumber(parent) || major === undefined || separator < 0) return undefined;
  if (!root || !mountPoint || !options || !type || source === undefined) return undefined;
  return {
    id: Number(id),
    parent: Number(parent),
    major: Number(major),
    minor: Number(minor),
    root: unescapeOctal(root),
    mountPoint: unescapeOctal(mountPoint),
    options: options.split(","),
    propagation: fields.slice(6, separator),
    type: unescapeOctal(type),
    source: unescapeOctal(source),
    superOptions: superOptions === "" ? [] : superOptions.split(",").map(unescapeOctal),
  };
}

function unescapeOctal(field: string): ByteString {
  return field.replaceAll(/\\([0-3][0-7]{2})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  ) as ByteString;
}
