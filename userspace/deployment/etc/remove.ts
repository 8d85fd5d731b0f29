/** Removes an `/etc`, in which an administrator may have protected files with `chattr +i` or `+a`. */
import { toBytes } from "../../../src/formats/bytestring.ts";
import {
  AT_SYMLINK_NOFOLLOW,
  O_CLOEXEC,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_RDONLY,
  S_IFDIR,
  S_IFMT,
  S_IFREG,
} from "../../../src/linux/constants.ts";
import { removeTree } from "../../../src/linux/directories.ts";
import {
  changeInodeFlags,
  FS_APPEND_FL,
  FS_IMMUTABLE_FL,
  STATX_ATTR_APPEND,
  STATX_ATTR_IMMUTABLE,
} from "../../../src/linux/inode-flags.ts";
import { type Fd, isErrno, type Linux, type Path } from "../../../src/linux/linux.ts";

const PROTECTED = STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND;

/** Removes a directory with all that is in it, protected or not; false if there is none. Follows no symlinks. */
export function removeEtc(linux: Linux, dirfd: Fd, path: Path): boolean {
  try {
    unprotect(linux, dirfd, path);
  } catch (error) {
    if (isErrno(error, "ENOENT")) return false;
    throw error;
  }
  return removeTree(linux, dirfd, path);
}

function unprotect(linux: Linux, dirfd: Fd, path: Path): void {
  const { mode, attributes } = linux.statx(dirfd, path, AT_SYMLINK_NOFOLLOW);
  const type = mode & S_IFMT;
  const locked = (attributes & PROTECTED) !== 0n;
  if (type !== S_IFDIR && !(type === S_IFREG && locked)) return;
  const fd = linux.openat(dirfd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  try {
    if (locked) changeInodeFlags(linux, fd, { clear: FS_IMMUTABLE_FL | FS_APPEND_FL });
    if (type !== S_IFDIR) return;
    for (const { name } of linux.readdir(fd)) unprotect(linux, fd, toBytes(name));
  } finally {
    linux.close(fd);
  }
}
