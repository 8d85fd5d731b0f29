/** GRUB's environment block, in which boots of a new deployment are counted. */
import {
  type GrubEnv,
  newGrubEnv,
  parseGrubEnv,
  serializeGrubEnv,
} from "../../src/formats/grubenv.ts";
import {
  AT_SYMLINK_NOFOLLOW,
  MSDOS_SUPER_MAGIC,
  S_IFDIR,
  S_IFMT,
  S_IFREG,
} from "../../src/linux/constants.ts";
import { removeTree, replaceFile, withDirectory } from "../../src/linux/directories.ts";
import { readFile } from "../../src/linux/files.ts";
import { isErrno, type Linux } from "../../src/linux/linux.ts";
import { type BootPlace, emptyJournalOf } from "./boot-place.ts";
import { temporaryNames } from "./temporary-names.ts";

/** Where GRUB may be: Fedora's, and all others'. */
const DIRECTORIES = ["grub2", "grub"];
const NAME = "grubenv";
const MODE = 0o644;
const MAX_SIZE = 1 << 20;

interface Found {
  readonly directory: string;
  /** Absent: there is no file yet. */
  readonly bytes: Uint8Array | undefined;
}

/**
 * Reads the block; `undefined` if this GRUB has none, or none that is ours to write. Throws an error that names the file if
 * GRUB would not use it.
 */
export function readGrubEnv(linux: Linux, place: BootPlace): GrubEnv | undefined {
  const found = find(linux, place);
  if (found?.bytes === undefined) return undefined;
  return parseGrubEnv(found.bytes, `${place.path}/${found.directory}/${NAME}`);
}

/**
 * Changes the block, durably, in one atomic step; one is made where GRUB is and has none. False if nothing could be written:
 * there is no GRUB, its block is damaged, or it has no room.
 */
export function changeGrubEnv(
  linux: Linux,
  place: BootPlace,
  change: (env: GrubEnv) => GrubEnv,
): boolean {
  const found = find(linux, place);
  if (found === undefined) return false;
  let changed: Uint8Array;
  try {
    const env = found.bytes === undefined ? newGrubEnv() : parseGrubEnv(found.bytes, NAME);
    const next = change(env);
    if (next === env) return true;
    changed = serializeGrubEnv(next);
  } catch {
    return false; // GRUB does not read it either, so it counts nothing
  }
  withDirectory(linux, place.directory, found.directory, (directory) =>
    replaceFile(linux, directory, NAME, changed, MODE),
  );
  emptyJournalOf(linux, place);
  return true;
}

/** Removes what a change of the block that did not come to its end has left. */
export function removeUnfinishedGrubEnv(linux: Linux, place: BootPlace): void {
  for (const name of directoriesIn(linux, place)) {
    withDirectory(linux, place.directory, name, (directory) => {
      // there it may be the very file that has the other name, after a power failure
      if (linux.fstatfs(directory).type === MSDOS_SUPER_MAGIC) return;
      for (const left of temporaryNames(linux, directory, (one) => one === NAME)) {
        removeTree(linux, directory, left);
      }
    });
  }
}

function find(linux: Linux, place: BootPlace): Found | undefined {
  const there = directoriesIn(linux, place);
  for (const directory of there) {
    const path = `${directory}/${NAME}`;
    const type = typeOf(linux, place, path);
    if (type === undefined) continue;
    // a symlink leads to another partition, which is not ours
    if (type !== S_IFREG) return undefined;
    return { directory, bytes: readFile(linux, place.directory, path, MAX_SIZE) };
  }
  const [directory] = there;
  return directory === undefined ? undefined : { directory, bytes: undefined };
}

function directoriesIn(linux: Linux, place: BootPlace): string[] {
  return DIRECTORIES.filter((name) => typeOf(linux, place, name) === S_IFDIR);
}

function typeOf(linux: Linux, place: BootPlace, path: string): number | undefined {
  try {
    return linux.statx(place.directory, path, AT_SYMLINK_NOFOLLOW).mode & S_IFMT;
  } catch (error) {
    if (isErrno(error, "ENOENT")) return undefined;
    throw error;
  }
}
