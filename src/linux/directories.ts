/** Directories and small files in them, changed so that after a power failure there is either the old or the new. */
import { toBytes } from "../formats/bytestring.ts";
import {
  AT_REMOVEDIR,
  AT_SYMLINK_NOFOLLOW,
  MSDOS_SUPER_MAGIC,
  O_CLOEXEC,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_NOFOLLOW,
  O_RDONLY,
  O_TRUNC,
  O_WRONLY,
} from "./constants.ts";
import { writeNamed } from "./files.ts";
import { type Fd, isErrno, type Linux, type Path } from "./linux.ts";

/** What `action` returns; `undefined` if what it looks for is not there. */
export function ifThere<T>(action: () => T): T | undefined {
  try {
    return action();
  } catch (error) {
    if (isErrno(error, "ENOENT")) return undefined;
    throw error;
  }
}

/** Whether something has this name; what a symlink leads to has to be there, too. */
export function exists(linux: Linux, dirfd: Fd, path: Path): boolean {
  try {
    linux.faccessat(dirfd, path, 0);
    return true;
  } catch (error) {
    if (isErrno(error, "ENOENT")) return false;
    throw error;
  }
}

/** Opens a directory for reading; a symlink is none. */
export function openDirectory(linux: Linux, dirfd: Fd, path: Path): Fd {
  return linux.openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/** Runs `action` with an open directory. */
export function withDirectory<T>(
  linux: Linux,
  dirfd: Fd,
  path: Path,
  action: (directory: Fd) => T,
): T {
  const directory = openDirectory(linux, dirfd, path);
  try {
    return action(directory);
  } finally {
    linux.close(directory);
  }
}

/** Makes the entries of a directory durable. */
export function syncDirectory(linux: Linux, dirfd: Fd, path: Path): void {
  withDirectory(linux, dirfd, path, (directory) => linux.fsync(directory));
}

/** Makes the directories of a relative path that are missing, each durable in its parent. */
export function makeDirectories(linux: Linux, dirfd: Fd, path: string, mode: number): void {
  let made = "";
  for (const name of path.split("/").filter((part) => part !== "" && part !== ".")) {
    const parent = made === "" ? "." : made;
    made = made === "" ? name : `${made}/${name}`;
    try {
      linux.mkdirat(dirfd, made, mode);
    } catch (error) {
      if (!isErrno(error, "EEXIST")) throw error;
      continue;
    }
    syncDirectory(linux, dirfd, parent);
  }
}

/** Makes a file that is not there yet, durably; its name becomes durable with its directory. */
export function createFile(
  linux: Linux,
  directory: Fd,
  name: Path,
  content: Iterable<Uint8Array>,
  mode: number,
): void {
  const flags = O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC;
  const fd = linux.openat(directory, name, flags, mode);
  try {
    for (const chunk of content) writeNamed(linux, fd, name, chunk);
    linux.fsync(fd);
  } finally {
    linux.close(fd);
  }
}

/**
 * Writes a file in place of an older one, durably, in one atomic step. It is synced once more by its new name: vfat keeps
 * where a name leads with the file, not with the directory. Until then it is called `NAME.cfsboot-tmp`; one that was left
 * there is overwritten, so nobody else may write the same file at the same time.
 */
export function replaceFile(
  linux: Linux,
  directory: Fd,
  name: string,
  data: Uint8Array,
  mode: number,
): void {
  const { fd, temporary } = openTemporary(linux, directory, name, mode);
  try {
    writeNamed(linux, fd, name, data);
    linux.fsync(fd);
    linux.renameat2(directory, temporary, directory, name, 0);
    linux.fsync(fd);
  } finally {
    linux.close(fd);
  }
  linux.fsync(directory);
}

/** Writes a file, as `replaceFile` does, unless something has this name, a dangling symlink too. */
export function createIfMissing(
  linux: Linux,
  directory: Fd,
  name: string,
  data: Uint8Array,
  mode: number,
): void {
  if (ifThere(() => linux.statx(directory, name, AT_SYMLINK_NOFOLLOW)) !== undefined) return;
  replaceFile(linux, directory, name, data, mode);
}

/** What is called so until it gets its name; with a number, if others have to stay. */
export function numberedTemporary(name: string, number: number): string {
  return `${name}${TEMPORARY}${number === 0 ? "" : number}`;
}

/** On FAT one that was left stays: after a power failure it may be the very file that has the other name. */
function openTemporary(linux: Linux, directory: Fd, name: string, mode: number) {
  const fat = linux.fstatfs(directory).type === MSDOS_SUPER_MAGIC;
  const flags = O_CREAT | (fat ? O_EXCL : O_TRUNC) | O_WRONLY | O_NOFOLLOW | O_CLOEXEC;
  for (let number = 0; ; number++) {
    const temporary = numberedTemporary(name, number);
    try {
      return { fd: linux.openat(directory, temporary, flags, mode), temporary };
    } catch (error) {
      if (!fat || !isErrno(error, "EEXIST")) throw error;
    }
  }
}

/** The end of the names of what is not complete. */
export const TEMPORARY = ".cfsboot-tmp";

/**
 * Removes a file, or a directory with all that is in it; false if there is none. Symlinks are not followed, and other
 * file systems that are mounted in it are an error (EBUSY). Not atomic.
 */
export function removeTree(linux: Linux, dirfd: Fd, path: Path): boolean {
  try {
    linux.unlinkat(dirfd, path, 0);
    return true;
  } catch (error) {
    if (isErrno(error, "ENOENT")) return false;
    // EPERM is POSIX's answer for a directory, EISDIR Linux's.
    if (!isErrno(error, "EISDIR", "EPERM")) throw error;
  }
  withDirectory(linux, dirfd, path, (directory) => {
    for (const { name } of linux.readdir(directory)) removeTree(linux, directory, toBytes(name));
  });
  linux.unlinkat(dirfd, path, AT_REMOVEDIR);
  return true;
}
