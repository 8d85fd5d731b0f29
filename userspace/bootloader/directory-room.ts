/**
 * Room for names in directories on FAT.
 *
 * A directory without room for another name grows by a cluster. That it goes on there, and that this cluster is taken, is
 * written in two places of the FAT, in no order: if the power fails in between, the directory goes on in a cluster that is free.
 * Linux makes do with that. EDK II takes the directory for damaged, with all that is in it: it starts no kernel of it.
 *
 * So directories that boot loaders look into are made large before something is in them: FAT never makes one smaller. One that
 * others have made may have to grow: then that is durable at once.
 */
import { toText } from "../../src/formats/bytestring.ts";
import { AT_EMPTY_PATH, MSDOS_SUPER_MAGIC } from "../../src/linux/constants.ts";
import { createFile, exists } from "../../src/linux/directories.ts";
import type { Fd, Linux } from "../../src/linux/linux.ts";
import { FILE_MODE } from "./boot-place.ts";

/** How large a directory is made, in bytes: for 18 kernels, whose names take 14 entries of 32 bytes. */
const ENOUGH = 8192;

/**
 * Names of files for which a directory becomes so large: each takes 14 entries. mtools has a directory grow by one cluster for a
 * name, which may be 16 entries.
 */
export const ROOM_NAMES: readonly string[] = Array.from({ length: 19 }, (_, i) =>
  `cfsboot-room-${i}-`.padEnd(160, "x"),
);

/** Makes a directory large that nothing is in, and that nobody needs yet. */
export function makeRoom(linux: Linux, directory: Fd): void {
  if (!isFat(linux, directory)) return;
  const names = linux.readdir(directory).map(({ name }) => toText(name) ?? "");
  if (!names.every((name) => ROOM_NAMES.includes(name))) return;
  for (const name of ROOM_NAMES) {
    if (sizeOf(linux, directory) >= ENOUGH) break;
    if (!exists(linux, directory, name)) createFile(linux, directory, name, [], FILE_MODE);
  }
  for (const name of ROOM_NAMES) {
    if (exists(linux, directory, name)) linux.unlinkat(directory, name, 0);
  }
  linux.fsync(directory);
}

/** Makes a name in a directory; if that has to grow for it, durably before anything else is written. */
export function makeName(linux: Linux, directory: Fd, make: () => void): void {
  const before = isFat(linux, directory) ? sizeOf(linux, directory) : undefined;
  make();
  if (before !== undefined && sizeOf(linux, directory) !== before) linux.syncfs(directory);
}

function isFat(linux: Linux, directory: Fd): boolean {
  return linux.fstatfs(directory).type === MSDOS_SUPER_MAGIC;
}

function sizeOf(linux: Linux, directory: Fd): number {
  return linux.statx(directory, "", AT_EMPTY_PATH).size;
}
