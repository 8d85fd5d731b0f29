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
  O_CLOEXEC,
  O_NOFOLLOW,
  O_RDONLY,
  RENAME_EXCHANGE,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
} from "../../src/linux/constants.ts";
import {
  createFile,
  ifThere,
  makeDirectories,
  openDirectory,
  withDirectory,
} from "../../src/linux/directories.ts";
import { readFile } from "../../src/linux/files.ts";
import { type Fd, isErrno, type Linux, type Path } from "../../src/linux/linux.ts";
import { type MenuEntry, ownEntry } from "../../src/model/menu-entry.ts";
import type { MenuFile } from "../../src/model/menu-files.ts";
import { type BootPlace, ENTRIES, emptyJournalOf, GRUB_SCRIPT } from "./boot-place.ts";
import { discard, settleNames } from "./discard.ts";
import { discardTemporary, temporaryName } from "./temporary-names.ts";

const DIRECTORY_MODE = 0o755;
const FILE_MODE = 0o644;
const CHUNK = 1 << 16;
const LOADER = "loader";

/** What is in a directory of entries. */
export interface Menu {
  /** Ours, in no order. */
  readonly own: readonly MenuEntry[];
  readonly foreign: readonly ForeignFile[];
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

/**
 * Reads a directory of entries; `undefined` if there is none. `known` tells which deployments there are. What cannot be
 * read is foreign.
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
    for (const { name } of linux.readdir(directory)) {
      if (place.script && name === GRUB_SCRIPT) continue;
      const bytes = toBytes(name);
      const found = readEntry(linux, directory, bytes, toText(name), known);
      if ("id" in found) own.push(found);
      else foreign.push({ name: bytes, displayName: display(name), ...found });
    }
    return { own, foreign };
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
): MenuEntry | { title: string | undefined; problem: string | undefined } {
  if (!name?.toLowerCase().endsWith(".conf")) return { title: undefined, problem: undefined };
  try {
    const type = linux.statx(directory, path, AT_SYMLINK_NOFOLLOW).mode & S_IFMT;
    if (type !== S_IFREG) return { title: undefined, problem: "not a regular file" };
    const bls = parseBlsEntry(readFile(linux, directory, path, MAX_ENTRY_SIZE));
    const { tries } = splitBootCount(name);
    return ownEntry(name, bls, tries, known) ?? { title: bls.title, problem: bls.problem };
  } catch (error) {
    return { title: undefined, problem: (error as Error).message };
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
  writeEntries(linux, place, loader, temporary, files);
  // it is emptied in no order: what the names are to lead to, kernels too, must be in its own place before them
  emptyJournalOf(linux, place);
  linux.renameat2(loader, temporary, loader, live, RENAME_EXCHANGE);
  settleNames(linux, loader);
  // before the old one goes, which is what a boot loader sees until then
  emptyJournalOf(linux, place);
  discard(linux, loader, temporary, live);
}

/** Makes a directory of entries, with the files of others that are in the live one. */
function writeEntries(
  linux: Linux,
  place: BootPlace,
  loader: Fd,
  name: string,
  files: readonly MenuFile[],
): void {
  const names = new Set(files.map(({ name }) => name));
  const live = readMenu(linux, place, ENTRIES, () => true);
  const foreign = live?.foreign.filter(({ displayName }) => !names.has(displayName)) ?? [];
  linux.mkdirat(loader, name, DIRECTORY_MODE);
  withDirectory(linux, loader, name, (to) => {
    if (foreign.length > 0) {
      withDirectory(linux, loader, nameOf(ENTRIES), (from) => {
        for (const { name } of foreign) copyTree(linux, from, to, name);
      });
    }
    for (const { name, bytes } of files) createFile(linux, to, name, [bytes], FILE_MODE);
    if (place.script) createFile(linux, to, GRUB_SCRIPT, [scriptOf(files)], FILE_MODE);
    linux.fsync(to);
  });
}

function nameOf(path: string): string {
  return path.slice(`${LOADER}/`.length);
}

function discardUnfinished(linux: Linux, loader: Fd): void {
  discardTemporary(linux, loader, (name) => name === nameOf(ENTRIES));
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

/** Copies what a boot partition can hold: files, directories and, where it has them, symlinks. */
function copyTree(linux: Linux, from: Fd, to: Fd, name: Path): void {
  const { mode } = linux.statx(from, name, AT_SYMLINK_NOFOLLOW);
  switch (mode & S_IFMT) {
    case S_IFREG:
      copyFile(linux, from, to, name, mode & 0o777);
      break;
    case S_IFLNK:
      linux.symlinkat(toBytes(linux.readlinkat(from, name)), to, name);
      break;
    case S_IFDIR:
      linux.mkdirat(to, name, mode & 0o777);
      withDirectory(linux, from, name, (inner) =>
        withDirectory(linux, to, name, (target) => {
          for (const entry of linux.readdir(inner)) {
            copyTree(linux, inner, target, toBytes(entry.name));
          }
          linux.fsync(target);
        }),
      );
  }
}

function copyFile(linux: Linux, from: Fd, to: Fd, name: Path, mode: number): void {
  const source = linux.openat(from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  try {
    createFile(linux, to, name, chunks(linux, source), mode);
  } finally {
    linux.close(source);
  }
}

function* chunks(linux: Linux, fd: Fd): Generator<Uint8Array> {
  const buffer = new Uint8Array(CHUNK);
  for (let n = linux.read(fd, buffer); n > 0; n = linux.read(fd, buffer))
    yield buffer.subarray(0, n);
}
