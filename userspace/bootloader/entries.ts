/**
 * The directory of boot entries, and its staged double. They are replaced as a whole, in one atomic step, so that the boot
 * loader sees the old menu or the new one. Files of others are taken along as they are.
 */
import { MAX_ENTRY_SIZE, parseBlsEntry } from "../../src/formats/bls-entry.ts";
import { splitBootCount } from "../../src/formats/boot-count.ts";
import { display, fromText, toBytes, toText } from "../../src/formats/bytestring.ts";
import { grubScript } from "../../src/formats/grub-script.ts";
import {
  AT_SYMLINK_NOFOLLOW,
  RENAME_EXCHANGE,
  S_IFDIR,
  S_IFMT,
  S_IFREG,
} from "../../src/linux/constants.ts";
import {
  createFile,
  exists,
  ifThere,
  makeDirectories,
  openDirectory,
  withDirectory,
} from "../../src/linux/directories.ts";
import { readFile } from "../../src/linux/files.ts";
import { type Fd, isErrno, type Linux, LinuxError, type Path } from "../../src/linux/linux.ts";
import { type MenuEntry, ownEntry } from "../../src/model/menu-entry.ts";
import type { MenuFile } from "../../src/model/menu-files.ts";
import { isEntryName } from "../../src/model/menu-plan.ts";
import {
  type BootPlace,
  DIRECTORY_MODE,
  ENTRIES,
  emptyJournalOf,
  FILE_MODE,
  GRUB_SCRIPT,
} from "./boot-place.ts";
import { makeName, makeRoom } from "./directory-room.ts";
import { discard, mayBeShared, mayHaveMoved, settleNames } from "./discard.ts";
import { copyForeign, moveForeign, unreadableIn } from "./foreign-files.ts";
import { temporaryName, temporaryNames } from "./temporary-names.ts";
import { withUkiFacts } from "./uki-cmdline.ts";

const LOADER = "loader";

/** What is in a directory of entries. */
export interface Menu {
  /** Ours, in no order. */
  readonly own: readonly MenuEntry[];
  readonly foreign: readonly ForeignFile[];
  /** By their names ours, but not to be read: what they boot is not known. */
  readonly unreadable: readonly UnreadableFile[];
}

/** A file that is not ours. */
export interface ForeignFile {
  /** Bytes as they are. */
  readonly name: Uint8Array;
  /** For people. */
  readonly displayName: string;
  readonly title: string | undefined;
  /** Why it is no entry that boots something, if it is called like one. */
  readonly problem: string | undefined;
}

export interface UnreadableFile extends Pick<ForeignFile, "name" | "displayName"> {
  /** Why, for people. */
  readonly problem: string;
}

/**
 * Reads a directory of entries; `undefined` if there is none. `known` tells which deployments there are. A file that
 * cannot be read, or makes no sense, is no error.
 */
export function readMenu(
  linux: Linux,
  place: BootPlace,
  path: string,
  known: (id: string) => boolean,
): Menu | undefined {
  let directory: Fd;
  try {
    directory = openDirectory(linux, place.directory, path);
  } catch (error) {
    if (isErrno(error, "ENOENT")) return undefined;
    throw new Error(`boot entries ${place.path}/${path}`, { cause: error });
  }
  try {
    const own: MenuEntry[] = [];
    const foreign: ForeignFile[] = [];
    const unreadable: UnreadableFile[] = [];
    for (const { name } of linux.readdir(directory)) {
      if (place.script && name === GRUB_SCRIPT) continue;
      const bytes = toBytes(name);
      const found = readEntry(linux, directory, bytes, toText(name), known);
      const file = { name: bytes, displayName: display(name) };
      if (found instanceof LinuxError && isEntryName(file.displayName)) {
        unreadable.push({ ...file, problem: found.message });
      } else if (found instanceof Error) {
        foreign.push({ ...file, title: undefined, problem: found.message });
      } else if ("id" in found) own.push(withUkiFacts(linux, place, found));
      else foreign.push({ ...file, ...found });
    }
    return { own, foreign, unreadable };
  } finally {
    linux.close(directory);
  }
}

function readEntry(
  linux: Linux,
  directory: Fd,
  path: Path,
  name: string | undefined,
  known: (id: string) => boolean,
): MenuEntry | Pick<ForeignFile, "title" | "problem"> | Error {
  if (!name?.toLowerCase().endsWith(".conf")) return { title: undefined, problem: undefined };
  try {
    const type = linux.statx(directory, path, AT_SYMLINK_NOFOLLOW).mode & S_IFMT;
    if (type !== S_IFREG) return { title: undefined, problem: "not a regular file" };
    const bls = parseBlsEntry(readFile(linux, directory, path, MAX_ENTRY_SIZE));
    const { tries } = splitBootCount(name);
    return ownEntry(name, bls, tries, known) ?? { title: bls.title, problem: bls.problem };
  } catch (error) {
    return error as Error;
  }
}

/**
 * Makes `path` (`ENTRIES` or `STAGED_ENTRIES`) hold these files, which are in the order of the menu, and, of the live
 * directory, those of others. Durable when it returns; after a power failure there is the old live directory or the new
 * one. GRUB counts boots elsewhere, so in its live directory names have no counters.
 *
 * Order: all files in a directory of another name, each durable; the names, by exchange; what was there before is removed.
 * Where the boot loader replays no journal, that is emptied before and after the exchange.
 * The staged directory means nothing without its record, which is not there meanwhile and does not outlive a power
 * failure: it is removed and made anew.
 */
export function replaceEntries(
  linux: Linux,
  place: BootPlace,
  path: string,
  menu: readonly MenuFile[],
): void {
  const files = place.script && path === ENTRIES ? menu.map(uncounted) : menu;
  try {
    makeDirectories(linux, place.directory, LOADER, DIRECTORY_MODE);
    withDirectory(linux, place.directory, LOADER, (loader) => {
      makeRoom(linux, loader);
      if (path === ENTRIES) replaceLive(linux, place, loader, files);
      else {
        discard(linux, loader, nameOf(path));
        writeEntries(linux, place, loader, nameOf(path), files);
        linux.fsync(loader);
      }
    });
  } catch (error) {
    throw new Error(`boot entries ${place.path}/${path}`, { cause: error });
  }
}

function replaceLive(linux: Linux, place: BootPlace, loader: Fd, files: readonly MenuFile[]): void {
  const live = nameOf(ENTRIES);
  // its slot comes before all others, so that it is the one that stays if fsck.vfat parts two names
  makeDirectories(linux, loader, live, DIRECTORY_MODE);
  discardUnfinished(linux, loader);
  const temporary = temporaryName(linux, loader, live);
  const left = writeEntries(linux, place, loader, temporary, files);
  // it is emptied in no order: what the names are to lead to, kernels too, must be in its own place before them
  emptyJournalOf(linux, place);
  linux.renameat2(loader, temporary, loader, live, RENAME_EXCHANGE);
  settleNames(linux, loader);
  if (left.length > 0 && !mayBeShared(linux, loader, temporary, live)) {
    moveToLive(linux, loader, temporary, () => left);
  }
  // before the old one goes, which is what a boot loader sees until then
  emptyJournalOf(linux, place);
  discard(linux, loader, temporary, live);
}

/** Makes a directory of entries, with the files of others that are in the live one. Returns those that cannot be read. */
function writeEntries(
  linux: Linux,
  place: BootPlace,
  loader: Fd,
  name: string,
  files: readonly MenuFile[],
): Path[] {
  const names = new Set(files.map(({ name }) => name));
  const live = readMenu(linux, place, ENTRIES, () => true);
  const others = live === undefined ? [] : [...live.foreign, ...live.unreadable];
  const foreign = others.filter(({ displayName }) => !names.has(displayName));
  let left: Path[] = [];
  makeName(linux, loader, () => linux.mkdirat(loader, name, DIRECTORY_MODE));
  withDirectory(linux, loader, name, (to) => {
    if (foreign.length > 0) {
      withDirectory(linux, loader, nameOf(ENTRIES), (from) => {
        const all = foreign.map(({ name }) => name);
        left = all.filter((name) => !copyForeign(linux, from, to, name));
      });
    }
    for (const { name, bytes } of files) createFile(linux, to, name, [bytes], FILE_MODE);
    if (place.script) createFile(linux, to, GRUB_SCRIPT, [scriptOf(files)], FILE_MODE);
    linux.fsync(to);
  });
  return left;
}

/** Moves some of what a directory beside the live one has into that, durably. */
function moveToLive(
  linux: Linux,
  loader: Fd,
  name: string,
  choose: (directory: Fd) => readonly Path[],
): void {
  withDirectory(linux, loader, name, (from) => {
    const names = choose(from);
    if (names.length === 0) return;
    withDirectory(linux, loader, nameOf(ENTRIES), (to) => {
      moveForeign(linux, from, to, names);
      linux.fsync(from);
      settleNames(linux, to);
    });
  });
}

function nameOf(path: string): string {
  return path.slice(`${LOADER}/`.length);
}

/** What could not be copied may be there yet: it is moved. */
function discardUnfinished(linux: Linux, loader: Fd): void {
  const live = nameOf(ENTRIES);
  for (const name of temporaryNames(linux, loader, (one) => one === live)) {
    if (mayBeShared(linux, loader, name)) continue;
    const { mode } = linux.statx(loader, name, AT_SYMLINK_NOFOLLOW);
    if ((mode & S_IFMT) === S_IFDIR && exists(linux, loader, live)) {
      moveToLive(linux, loader, name, (directory) => unreadableIn(linux, directory));
    }
    if (!mayHaveMoved(linux, loader, name, live)) discard(linux, loader, name);
  }
}

function uncounted({ name, bytes }: MenuFile): MenuFile {
  return { name: splitBootCount(name).name, bytes };
}

function scriptOf(files: readonly MenuFile[]): Uint8Array {
  const entries = files.map(({ name, bytes }) => ({
    id: name.replace(/\.conf$/, ""),
    bls: parseBlsEntry(bytes),
  }));
  const [first] = entries;
  const deployment = first && ownEntry(first.id, first.bls, undefined, () => true)?.id;
  return toBytes(fromText(grubScript(entries, deployment)));
}

/** Removes a directory of entries that is not the live one, and what interrupted writes have left; false if there is none. */
export function removeStagedEntries(linux: Linux, place: BootPlace, path: string): boolean {
  const removed = ifThere(() =>
    withDirectory(linux, place.directory, LOADER, (loader) => discard(linux, loader, nameOf(path))),
  );
  removeUnfinishedEntries(linux, place);
  return removed ?? false;
}

/** Removes what a write of entries that did not come to its end has left. */
export function removeUnfinishedEntries(linux: Linux, place: BootPlace): void {
  ifThere(() =>
    withDirectory(linux, place.directory, LOADER, (loader) => discardUnfinished(linux, loader)),
  );
}
