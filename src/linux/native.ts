/**
 * The C core as JavaScript sees it, in both engines: one function per entry of its table. Every function returns the
 * call's value, or `-errno`. An argument of the wrong kind is a TypeError.
 */
import type { Path } from "./linux.ts";

/** An integer of 64 bits. */
type Long = number | bigint;

export interface NativeCalls {
  openat(dirfd: number, path: Path, flags: number, mode: number): number;
  openat2(dirfd: number, path: Path, flags: Long, mode: Long, resolve: Long): number;
  open_by_handle_at(mount: number, fd: number, flags: Long): number;
  close(fd: number): number;
  read(fd: number, buffer: Uint8Array): number;
  pread(fd: number, buffer: Uint8Array, position: Long): number;
  write(fd: number, data: Uint8Array): number;
  pwrite(fd: number, data: Uint8Array, position: Long): number;
  lseek(fd: number, offset: Long, whence: number): number;
  /** Fills a `struct statx`. */
  statx(dirfd: number, path: Path, flags: number, mask: number, buffer: Uint8Array): number;
  readlinkat(dirfd: number, path: Path, buffer: Uint8Array): number;
  /** Fills the buffer with `struct linux_dirent64`s. */
  getdents64(fd: number, buffer: Uint8Array): number;
  faccessat(dirfd: number, path: Path, mode: number): number;
  mkdirat(dirfd: number, path: Path, mode: number): number;
  mknodat(dirfd: number, path: Path, mode: number, rdev: Long): number;
  symlinkat(target: Path, dirfd: number, path: Path): number;
  linkat(olddirfd: number, oldpath: Path, newdirfd: number, newpath: Path, flags: number): number;
  unlinkat(dirfd: number, path: Path, flags: number): number;
  renameat2(
    olddirfd: number,
    oldpath: Path,
    newdirfd: number,
    newpath: Path,
    flags: number,
  ): number;
  fchmod(fd: number, mode: number): number;
  fchownat(dirfd: number, path: Path, uid: number, gid: number, flags: number): number;
  utimensat(dirfd: number, path: Path, sec: Long, nsec: number, flags: number): number;
  ftruncate(fd: number, length: Long): number;
  fsync(fd: number): number;
  fdatasync(fd: number): number;
  syncfs(fd: number): number;
  flock(fd: number, operation: number): number;
  fcntl_lock(fd: number, type: number): number;
  /** Fills a `struct statfs`. */
  fstatfs(fd: number, buffer: Uint8Array): number;
  copy_file_range(from: number, to: number, length: Long): number;
  ioctl(fd: number, request: number, argument: Uint8Array): number;
  ioctl_value(fd: number, request: number, argument: Long): number;
  llistxattr(path: Path, buffer: Uint8Array): number;
  lgetxattr(path: Path, name: Path, buffer: Uint8Array): number;
  lsetxattr(path: Path, name: Path, value: Uint8Array, flags: number): number;
  fsopen(fsname: string, flags: number): number;
  fsconfig(
    fd: number,
    command: number,
    key: string | null,
    value: Path | null,
    aux: number,
  ): number;
  fsmount(fd: number, flags: number, attributes: number): number;
  open_tree(dirfd: number, path: Path, flags: number): number;
  move_mount(from: number, frompath: Path, to: number, topath: Path, flags: number): number;
  mount_setattr(
    dirfd: number,
    path: Path,
    flags: number,
    set: Long,
    clear: Long,
    propagation: Long,
    userns: Long,
  ): number;
  mount(
    source: Path | null,
    target: Path,
    fstype: string | null,
    flags: Long,
    data: string | null,
  ): number;
  umount2(target: Path, flags: number): number;
  unshare(flags: number): number;
  setns(fd: number, nstype: number): number;
  geteuid(): number;
  /** `argv` and `env` are strings in UTF-8, each ended by NUL. */
  execve(path: Path, argv: Uint8Array, env: Uint8Array): number;
  getrandom(buffer: Uint8Array): number;
  /** Fills in the errno's name, NUL, and what it means. */
  describe_errno(errno: number, buffer: Uint8Array): number;
}
