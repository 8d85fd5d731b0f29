/** What others have among the boot entries, and what cannot be read there: it comes along when the directory is replaced. */
import { toBytes } from "../../src/formats/bytestring.ts";
import {
  AT_SYMLINK_NOFOLLOW,
  O_CLOEXEC,
  O_NOFOLLOW,
  O_RDONLY,
  RENAME_NOREPLACE,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
} from "../../src/linux/constants.ts";
import {
  createFile,
  openDirectory,
  removeTree,
  withDirectory,
} from "../../src/linux/directories.ts";
import { type Fd, isErrno, type Linux, type Path } from "../../src/linux/linux.ts";

const CHUNK = 1 << 16;

/** Copies a file, or a directory with all that is in it. False, and nothing is there, if not all of it can be read. */
export function copyForeign(linux: Linux, from: Fd, to: Fd, name: Path): boolean {
  try {
    copyTree(linux, from, to, name);
    return true;
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error;
    if (removeTree(linux, to, name)) linux.fsync(to);
    return false;
  }
}

/** Moves files of one directory that another one has not got. */
export function moveForeign(linux: Linux, from: Fd, to: Fd, names: readonly Path[]): void {
  for (const name of names) {
    try {
      linux.renameat2(from, name, to, name, RENAME_NOREPLACE);
    } catch (error) {
      if (!isErrno(error, "EEXIST", "ENOENT")) throw error;
    }
  }
}

/** Names in a directory of what cannot be read, not all of it. */
export function unreadableIn(linux: Linux, directory: Fd): Path[] {
  const names = linux.readdir(directory).map(({ name }) => toBytes(name));
  return names.filter((name) => !isReadable(linux, directory, name));
}

function isReadable(linux: Linux, directory: Fd, name: Path): boolean {
  try {
    readTree(linux, directory, name);
    return true;
  } catch (error) {
    if (error instanceof Unreadable) return false;
    throw error;
  }
}

/** The reason is with what is copied, not with where it goes. */
class Unreadable extends Error {}

function reading<T>(action: () => T): T {
  try {
    return action();
  } catch (cause) {
    throw new Unreadable("it cannot be read", { cause });
  }
}

/** Copies what a boot partition can hold: files, directories and, where it has them, symlinks. */
function copyTree(linux: Linux, from: Fd, to: Fd, name: Path): void {
  const { mode } = reading(() => linux.statx(from, name, AT_SYMLINK_NOFOLLOW));
  switch (mode & S_IFMT) {
    case S_IFREG:
      copyFile(linux, from, to, name, mode & 0o777);
      break;
    case S_IFLNK:
      linux.symlinkat(
        reading(() => toBytes(linux.readlinkat(from, name))),
        to,
        name,
      );
      break;
    case S_IFDIR:
      linux.mkdirat(to, name, mode & 0o777);
      withDirectory(linux, to, name, (target) => {
        withEntries(linux, from, name, (inner, entry) => copyTree(linux, inner, target, entry));
        linux.fsync(target);
      });
  }
}

function copyFile(linux: Linux, from: Fd, to: Fd, name: Path, mode: number): void {
  const rest = chunks(linux, from, name);
  try {
    // before a file is made that would have to be removed again
    const first = rest.next();
    createFile(linux, to, name, first.done ? [] : startingWith(first.value, rest), mode);
  } finally {
    rest.return(undefined);
  }
}

function* startingWith<T>(first: T, rest: Iterable<T>): Generator<T> {
  yield first;
  yield* rest;
}

function readTree(linux: Linux, from: Fd, name: Path): void {
  const { mode } = reading(() => linux.statx(from, name, AT_SYMLINK_NOFOLLOW));
  if ((mode & S_IFMT) === S_IFREG) for (const _ of chunks(linux, from, name));
  if ((mode & S_IFMT) !== S_IFDIR) return;
  withEntries(linux, from, name, (inner, entry) => readTree(linux, inner, entry));
}

function withEntries(
  linux: Linux,
  from: Fd,
  name: Path,
  action: (directory: Fd, entry: Path) => void,
): void {
  const directory = reading(() => openDirectory(linux, from, name));
  try {
    for (const entry of reading(() => linux.readdir(directory))) {
      action(directory, toBytes(entry.name));
    }
  } finally {
    linux.close(directory);
  }
}

function* chunks(linux: Linux, from: Fd, name: Path): Generator<Uint8Array> {
  const fd = reading(() => linux.openat(from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  try {
    const buffer = new Uint8Array(CHUNK);
    for (;;) {
      const size = reading(() => linux.read(fd, buffer));
      if (size === 0) return;
      yield buffer.subarray(0, size);
    }
  } finally {
    linux.close(fd);
  }
}
