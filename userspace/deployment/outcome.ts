/** The record of the last update, on the physical root. */
import { fromBytes, fromText, toBytes, toText } from "../../src/formats/bytestring.ts";
import {
  formatUpdateRecord,
  parseUpdateRecord,
  type UpdateRecord,
} from "../../src/formats/update-record.ts";
import { AT_FDCWD } from "../../src/linux/constants.ts";
import {
  ifThere,
  makeDirectories,
  replaceFile,
  withDirectory,
} from "../../src/linux/directories.ts";
import { readFile } from "../../src/linux/files.ts";
import type { Linux } from "../../src/linux/linux.ts";
import { type Host, RECORDS } from "./host.ts";

const NAME = "last-update.json";
const LIMIT = 1 << 20;

/** Reads the record; `undefined` if there is none. */
export function readUpdateRecord({ linux, sysroot, sysrootPath }: Host): UpdateRecord | undefined {
  const path = `${RECORDS}/${NAME}`;
  const bytes = ifThere(() => readFile(linux, sysroot, path, LIMIT));
  return bytes === undefined ? undefined : parseUpdateRecord(bytes, `${sysrootPath}/${path}`);
}

/** Writes the record in place of the one of an earlier update. */
export function writeUpdateRecord({ linux, sysroot }: Host, record: UpdateRecord): void {
  makeDirectories(linux, sysroot, RECORDS, 0o755);
  withDirectory(linux, sysroot, RECORDS, (directory) => {
    replaceFile(linux, directory, NAME, toBytes(fromText(formatUpdateRecord(record))), 0o644);
  });
}

/** The id of this boot. */
export function bootId(linux: Linux): string {
  const bytes = readFile(linux, AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64);
  return (toText(fromBytes(bytes)) ?? "").trim();
}
