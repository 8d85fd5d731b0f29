/** The interface `Linux` on the raw calls of the C core: structures, buffers that grow, and errors. */
import { type ByteString, fromBytes, fromText, toBytes } from "../formats/bytestring.ts";
import {
  decodeDirents,
  decodeStatfs,
  decodeStatx,
  decodeStrings,
  STATFS_BYTES,
  STATX_BYTES,
} from "./kernel-structs.ts";
import { type DirEntry, displayPath, type Fd, type Linux, LinuxError, type Path } from "./linux.ts";
import type { NativeCalls } from "./native.ts";

/** STATX_BASIC_STATS | STATX_MNT_ID */
const STATX_MASK = 0x7ff | 0x1000;
const DIRENTS_BYTES = 0x8000;
/** No symlink target is longer; a good first guess for xattrs. */
const PATH_MAX = 4096;
/** XATTR_SIZE_MAX and XATTR_LIST_MAX. */
const XATTR_MAX = 0x10000;
const ERANGE = 34;
const SEEK_SET = 0;

/** A path relative to a descriptor, for people: the descriptor itself where the path is empty. */
function at(dirfd: Fd, path: Path): string {
  return path.length === 0 ? `fd ${dirfd}` : displayPath(path);
}

function decodeErrno(native: NativeCalls, errno: number): { code: string; description: string } {
  const buffer = new Uint8Array(128);
  const length = native.describe_errno(errno, buffer);
  const [code = "", description = ""] = length < 0 ? [] : decodeStrings(buffer.subarray(0, length));
  return {
    code: code === "" ? `E${errno}` : code,
    description: description === "" ? `errno ${errno}` : description,
  };
}

/** `Linux` by these calls. */
export function createLinux(native: NativeCalls): Linux {
  const statxBytes = new Uint8Array(STATX_BYTES);
  const statxView = new DataView(statxBytes.buffer);
  const statfsBytes = new Uint8Array(STATFS_BYTES);
  const statfsView = new DataView(statfsBytes.buffer);
  const dirents = new Uint8Array(DIRENTS_BYTES);

  function check(result: number, syscall: string, path: string): number {
    if (result >= 0) return result;
    const { code, description } = decodeErrno(native, -result);
    throw new LinuxError(-result, code, description, syscall, path);
  }
  const checkFd = (result: number, syscall: string, fd: Fd) =>
    result < 0 ? check(result, syscall, `fd ${fd}`) : result;
  const checkAt = (result: number, syscall: string, dirfd: Fd, path: Path) =>
    result < 0 ? check(result, syscall, at(dirfd, path)) : result;
  const checkTwo = (result: number, syscall: string, from: string, to: string) =>
    check(result, syscall, `${from} -> ${to}`);

  /** Calls with buffers of growing size, for the calls that say ERANGE when one is too small. */
  function grow(
    call: (buffer: Uint8Array) => number,
    start: number,
    syscall: string,
    path: string,
  ): Uint8Array {
    for (let size = start; ; size = XATTR_MAX) {
      const buffer = new Uint8Array(size);
      const length = call(buffer);
      if (length === -ERANGE && size < XATTR_MAX) continue;
      return buffer.subarray(0, check(length, syscall, path));
    }
  }

  return {
    openat: (dirfd, path, flags, mode = 0) =>
      checkAt(native.openat(dirfd, path, flags, mode), "openat", dirfd, path),
    openat2: (dirfd, path, how) =>
      checkAt(
        native.openat2(dirfd, path, how.flags, how.mode ?? 0, how.resolve),
        "openat2",
        dirfd,
        path,
      ),
    open_by_handle_at: (mount, fd, flags) =>
      checkFd(native.open_by_handle_at(mount, fd, flags), "open_by_handle_at", fd),
    close(fd) {
      checkFd(native.close(fd), "close", fd);
    },
    read: (fd, buffer, position) =>
      position === undefined
        ? checkFd(native.read(fd, buffer), "read", fd)
        : checkFd(native.pread(fd, buffer, position), "pread64", fd),
    write: (fd, data, position) =>
      position === undefined
        ? checkFd(native.write(fd, data), "write", fd)
        : checkFd(native.pwrite(fd, data, position), "pwrite64", fd),
    statx(dirfd, path, flags) {
      checkAt(native.statx(dirfd, path, flags, STATX_MASK, statxBytes), "statx", dirfd, path);
      return decodeStatx(statxView);
    },
    readlinkat(dirfd, path): ByteString {
      const buffer = new Uint8Array(PATH_MAX);
      const length = checkAt(native.readlinkat(dirfd, path, buffer), "readlinkat", dirfd, path);
      return fromBytes(buffer.subarray(0, length));
    },
    readdir(fd): DirEntry[] {
      checkFd(native.lseek(fd, 0, SEEK_SET), "lseek", fd);
      const entries: DirEntry[] = [];
      for (;;) {
        const length = checkFd(native.getdents64(fd, dirents), "getdents64", fd);
        if (length === 0) return entries;
        entries.push(...decodeDirents(dirents, length));
      }
    },
    faccessat(dirfd, path, mode) {
      checkAt(native.faccessat(dirfd, path, mode), "faccessat", dirfd, path);
    },

    mkdirat(dirfd, path, mode) {
      checkAt(native.mkdirat(dirfd, path, mode), "mkdirat", dirfd, path);
    },
    mknodat(dirfd, path, mode, rdev) {
      checkAt(native.mknodat(dirfd, path, mode, rdev), "mknodat", dirfd, path);
    },
    symlinkat(target, dirfd, path) {
      checkAt(native.symlinkat(target, dirfd, path), "symlinkat", dirfd, path);
    },
    linkat(olddirfd, oldpath, newdirfd, newpath, flags) {
      const result = native.linkat(olddirfd, oldpath, newdirfd, newpath, flags);
      if (result < 0) checkTwo(result, "linkat", at(olddirfd, oldpath), at(newdirfd, newpath));
    },
    unlinkat(dirfd, path, flags) {
      checkAt(native.unlinkat(dirfd, path, flags), "unlinkat", dirfd, path);
    },
    renameat2(olddirfd, oldpath, newdirfd, newpath, flags) {
      const result = native.renameat2(olddirfd, oldpath, newdirfd, newpath, flags);
      if (result < 0) checkTwo(result, "renameat2", at(olddirfd, oldpath), at(newdirfd, newpath));
    },
    fchmod(fd, mode) {
      checkFd(native.fchmod(fd, mode), "fchmod", fd);
    },
    fchownat(dirfd, path, uid, gid, flags) {
      checkAt(native.fchownat(dirfd, path, uid, gid, flags), "fchownat", dirfd, path);
    },
    utimensat(dirfd, path, mtimeSec, mtimeNsec, flags) {
      const result = native.utimensat(dirfd, path, mtimeSec, mtimeNsec, flags);
      checkAt(result, "utimensat", dirfd, path);
    },
    ftruncate(fd, length) {
      checkFd(native.ftruncate(fd, length), "ftruncate", fd);
    },
    fsync(fd) {
      checkFd(native.fsync(fd), "fsync", fd);
    },
    fdatasync(fd) {
      checkFd(native.fdatasync(fd), "fdatasync", fd);
    },
    syncfs(fd) {
      checkFd(native.syncfs(fd), "syncfs", fd);
    },
    flock(fd, operation) {
      checkFd(native.flock(fd, operation), "flock", fd);
    },
    fcntlLock(fd, type) {
      checkFd(native.fcntl_lock(fd, type), "fcntl", fd);
    },
    fstatfs(fd) {
      checkFd(native.fstatfs(fd, statfsBytes), "fstatfs", fd);
      return decodeStatfs(statfsView);
    },
    copy_file_range(from, to, length) {
      const result = native.copy_file_range(from, to, length);
      return result < 0 ? checkTwo(result, "copy_file_range", `fd ${from}`, `fd ${to}`) : result;
    },

    ioctl: (fd, request, argument) => checkFd(native.ioctl(fd, request, argument), "ioctl", fd),
    ioctlValue: (fd, request, argument) =>
      checkFd(native.ioctl_value(fd, request, argument), "ioctl", fd),

    llistxattr: (path) =>
      decodeStrings(
        grow((b) => native.llistxattr(path, b), PATH_MAX, "llistxattr", displayPath(path)),
      ),
    lgetxattr: (path, name) =>
      grow((b) => native.lgetxattr(path, name, b), PATH_MAX, "lgetxattr", displayPath(path)),
    lsetxattr(path, name, value, flags) {
      const result = native.lsetxattr(path, name, value, flags);
      if (result < 0) check(result, "lsetxattr", displayPath(path));
    },

    fsopen: (fsname, flags) => check(native.fsopen(fsname, flags), "fsopen", fsname),
    fsconfig(fd, command, key, value, aux) {
      const result = native.fsconfig(fd, command, key, value, aux);
      if (result >= 0) return;
      const setting = value === null ? key : `${key}=${displayPath(value)}`;
      check(result, "fsconfig", setting ?? `fd ${fd}`);
    },
    fsmount: (fd, flags, attributes) =>
      checkFd(native.fsmount(fd, flags, attributes), "fsmount", fd),
    open_tree: (dirfd, path, flags) =>
      checkAt(native.open_tree(dirfd, path, flags), "open_tree", dirfd, path),
    move_mount(fromdirfd, from, todirfd, to, flags) {
      const result = native.move_mount(fromdirfd, from, todirfd, to, flags);
      if (result < 0) checkTwo(result, "move_mount", at(fromdirfd, from), at(todirfd, to));
    },
    mount_setattr(dirfd, path, flags, { set = 0, clear = 0, propagation = 0, userns = 0 }) {
      const result = native.mount_setattr(dirfd, path, flags, set, clear, propagation, userns);
      checkAt(result, "mount_setattr", dirfd, path);
    },
    mount(source, target, fstype, flags, data) {
      const result = native.mount(source, target, fstype, flags, data);
      if (result >= 0) return;
      if (source === null) check(result, "mount", displayPath(target));
      else checkTwo(result, "mount", displayPath(source), displayPath(target));
    },
    umount2(target, flags) {
      const result = native.umount2(target, flags);
      if (result < 0) check(result, "umount2", displayPath(target));
    },

    unshare(flags) {
      check(native.unshare(flags), "unshare", "");
    },
    setns(fd, nstype) {
      checkFd(native.setns(fd, nstype), "setns", fd);
    },
    geteuid: () => native.geteuid(),
    execve(path, argv, env): never {
      const list = (strings: string[]) => toBytes(fromText(strings.map((s) => `${s}\0`).join("")));
      check(native.execve(path, list(argv), list(env)), "execve", displayPath(path));
      throw new Error("execve returned");
    },
    getrandom(length) {
      const out = new Uint8Array(length);
      for (let filled = 0; filled < length; ) {
        filled += check(native.getrandom(out.subarray(filled)), "getrandom", "");
      }
      return out;
    },
  };
}
