/** Writing to a file system that is mounted somewhere for everybody to read. */
import {
  AT_FDCWD,
  MOUNT_ATTR_RDONLY,
  MS_BIND,
  MS_RDONLY,
  MS_REMOUNT,
  O_CLOEXEC,
  O_DIRECTORY,
  O_RDONLY,
  ST_NODEV,
  ST_NOEXEC,
  ST_NOSUID,
  ST_RDONLY,
} from "./constants.ts";
import { type Fd, isErrno, type Linux } from "./linux.ts";
import { cloneMount } from "./new-root.ts";

/**
 * Opens the directory that is mounted at `path` by a mount of our own, by which it can be written to: the one that everybody
 * sees stays as it is. Where the file system cannot be made writable, what is returned is read-only.
 */
export function openWritable(linux: Linux, path: string): Fd {
  const directory = linux.openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  try {
    let clone = cloneMount(linux, directory, { clear: MOUNT_ATTR_RDONLY });
    if ((linux.fstatfs(clone).flags & ST_RDONLY) !== 0 && makeWritable(linux, path)) {
      linux.close(clone);
      clone = cloneMount(linux, directory, { clear: MOUNT_ATTR_RDONLY });
    }
    return reopen(linux, clone);
  } finally {
    linux.close(directory);
  }
}

/** A clone is only a path (`O_PATH`); this is the directory. */
function reopen(linux: Linux, clone: Fd): Fd {
  try {
    return linux.openat(clone, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  } finally {
    linux.close(clone);
  }
}

/**
 * Makes a file system writable that was mounted read-only as a whole at `path`, but not by the mount there. Returns whether it
 * is.
 */
export function makeWritable(linux: Linux, path: string): boolean {
  const flags = mountFlags(linux, path);
  try {
    linux.mount(null, path, null, MS_REMOUNT | flags, null);
  } catch (error) {
    if (isErrno(error, "EROFS", "EACCES", "EPERM")) return false;
    throw error;
  }
  linux.mount(null, path, null, MS_REMOUNT | MS_BIND | MS_RDONLY | flags, null);
  return true;
}

/** What a mount forbids. The kernel's numbers for mount(2) are those that statfs(2) tells. */
function mountFlags(linux: Linux, path: string): number {
  const directory = linux.openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  try {
    return linux.fstatfs(directory).flags & (ST_NOSUID | ST_NODEV | ST_NOEXEC);
  } finally {
    linux.close(directory);
  }
}
