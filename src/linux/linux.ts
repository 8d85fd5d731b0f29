/**
 * The system calls that cfsboot is written on, as one interface with two providers (QuickJS in the initramfs, Node
 * in the running system). Names and constants are the kernel's. All calls are synchronous and work on file
 * descriptors; all of them throw `LinuxError` and nothing else. EINTR is retried by the provider.
 *
 * Paths are text (UTF-8) or `Uint8Array` (bytes as they are, for names that come from images: `toBytes(name)`); neither
 * may hold NUL.
 */
import { type ByteString, display, fromBytes, type Text } from "../formats/bytestring.ts";

export type Fd = number;
export type Path = Text | Uint8Array;

/** A path for messages. */
export function displayPath(path: Path): string {
  return typeof path === "string" ? path : display(fromBytes(path));
}

/** A system call that failed. */
export class LinuxError extends Error {
  override readonly name = "LinuxError";
  /** Positive errno. */
  readonly errno: number;
  /** Its name, `ENOENT`. */
  readonly code: string;
  /** What it means, `No such file or directory`. */
  readonly description: string;
  readonly syscall: string;
  /** What the call was about, for people: a path, or `fd 5`. */
  readonly path: string;

  constructor(errno: number, code: string, description: string, syscall: string, path: string) {
    super(path === "" ? `${syscall}: ${description}` : `${syscall} ${path}: ${description}`);
    this.errno = errno;
    this.code = code;
    this.description = description;
    this.syscall = syscall;
    this.path = path;
  }
}

/** Whether `error` is a `LinuxError` with one of these codes. */
export function isErrno(error: unknown, ...codes: string[]): error is LinuxError {
  return error instanceof LinuxError && codes.includes(error.code);
}

/** What `statx` tells (`struct statx`). */
export interface Statx {
  /** `st_mode`: type and permissions. */
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly ino: bigint;
  readonly size: number;
  /** Allocated, in units of 512 bytes. */
  readonly blocks: number;
  readonly mtimeSec: bigint;
  readonly mtimeNsec: number;
  readonly rdevMajor: number;
  readonly rdevMinor: number;
  readonly devMajor: number;
  readonly devMinor: number;
  /** Mount ID where the kernel tells it (`STATX_MNT_ID`), else 0. */
  readonly mountId: bigint;
  /** `STATX_ATTR_*` that are set. */
  readonly attributes: bigint;
}

/** One entry of a directory; `.` and `..` are left out. `type` is a `DT_*`. */
export interface DirEntry {
  readonly name: ByteString;
  readonly type: number;
  readonly ino: bigint;
}

export interface Statfs {
  /** File system magic, `EXT4_SUPER_MAGIC` … */
  readonly type: number;
  readonly blockSize: number;
  readonly blocks: number;
  /** Blocks free to unprivileged users. */
  readonly available: number;
  /** `ST_*` mount flags. */
  readonly flags: number;
}

export interface OpenHow {
  readonly flags: number;
  readonly mode?: number;
  /** `RESOLVE_*` */
  readonly resolve: number;
}

export interface Linux {
  openat(dirfd: Fd, path: Path, flags: number, mode?: number): Fd;
  openat2(dirfd: Fd, path: Path, how: OpenHow): Fd;
  /**
   * Opens the file or directory that `fd` is once more, by its handle (`name_to_handle_at`), on the mount that `mount` is
   * on: of the same file system, but perhaps not hidden there by what is mounted over it. Needs `CAP_DAC_READ_SEARCH`.
   */
  open_by_handle_at(mount: Fd, fd: Fd, flags: number): Fd;
  close(fd: Fd): void;
  /** Reads at the file position, or at `position` (pread). Returns the number of bytes, 0 at the end. */
  read(fd: Fd, buffer: Uint8Array, position?: number): number;
  /** Writes at the file position, or at `position` (pwrite). May write less than all: see `writeAll`. */
  write(fd: Fd, data: Uint8Array, position?: number): number;
  /** `statx` with `STATX_BASIC_STATS | STATX_MNT_ID`. `path` "" with `AT_EMPTY_PATH` is the fd itself. */
  statx(dirfd: Fd, path: Path, flags: number): Statx;
  readlinkat(dirfd: Fd, path: Path): ByteString;
  /** All entries, from the start of the directory, in the kernel's order (`getdents64`). */
  readdir(fd: Fd): DirEntry[];
  faccessat(dirfd: Fd, path: Path, mode: number): void;

  mkdirat(dirfd: Fd, path: Path, mode: number): void;
  mknodat(dirfd: Fd, path: Path, mode: number, rdev: number): void;
  symlinkat(target: Path, dirfd: Fd, path: Path): void;
  linkat(olddirfd: Fd, oldpath: Path, newdirfd: Fd, newpath: Path, flags: number): void;
  unlinkat(dirfd: Fd, path: Path, flags: number): void;
  renameat2(olddirfd: Fd, oldpath: Path, newdirfd: Fd, newpath: Path, flags: number): void;
  fchmod(fd: Fd, mode: number): void;
  fchownat(dirfd: Fd, path: Path, uid: number, gid: number, flags: number): void;
  /** Sets the modification time and leaves the access time. */
  utimensat(dirfd: Fd, path: Path, mtimeSec: bigint, mtimeNsec: number, flags: number): void;
  ftruncate(fd: Fd, length: number): void;
  fsync(fd: Fd): void;
  fdatasync(fd: Fd): void;
  syncfs(fd: Fd): void;
  /** `LOCK_SH`, `LOCK_EX`, `LOCK_UN`, with `LOCK_NB`. */
  flock(fd: Fd, operation: number): void;
  /**
   * `fcntl` with `F_OFD_SETLK`, on the whole file: `F_RDLCK`, `F_WRLCK`, `F_UNLCK`. Such a lock and those of `F_SETLK`
   * exclude each other. Never waits: where another one is in the way, the error is EAGAIN.
   */
  fcntlLock(fd: Fd, type: number): void;
  fstatfs(fd: Fd): Statfs;
  copy_file_range(from: Fd, to: Fd, length: number): number;

  /** `ioctl` whose argument is a pointer to `argument`, which it may change. Returns the call's value. */
  ioctl(fd: Fd, request: number, argument: Uint8Array): number;
  /** `ioctl` whose argument is a number. */
  ioctlValue(fd: Fd, request: number, argument: number): number;

  /**
   * Names of the extended attributes of the file itself (`llistxattr`). With a directory's fd: `/proc/self/fd/N/.`, and
   * `/proc/self/fd/N/NAME` for an entry.
   */
  llistxattr(path: Path): ByteString[];
  lgetxattr(path: Path, name: Path): Uint8Array;
  lsetxattr(path: Path, name: Path, value: Uint8Array, flags: number): void;

  fsopen(fsname: string, flags: number): Fd;
  /** `key` and `value` as the command wants them: a string, bytes, or nothing; `aux` is an fd or a length. */
  fsconfig(fd: Fd, command: number, key: string | null, value: Path | null, aux: number): void;
  fsmount(fd: Fd, flags: number, attributes: number): Fd;
  open_tree(dirfd: Fd, path: Path, flags: number): Fd;
  move_mount(fromdirfd: Fd, from: Path, todirfd: Fd, to: Path, flags: number): void;
  mount_setattr(
    dirfd: Fd,
    path: Path,
    flags: number,
    attributes: { set?: number; clear?: number; propagation?: number; userns?: Fd },
  ): void;
  /** The old call; a `null` argument is a null pointer. */
  mount(
    source: Path | null,
    target: Path,
    fstype: string | null,
    flags: number,
    data: string | null,
  ): void;
  umount2(target: Path, flags: number): void;

  unshare(flags: number): void;
  /** In Node, `unshare` and `setns` act on the calling thread. */
  setns(fd: Fd, nstype: number): void;
  geteuid(): number;
  /** Replaces the process. Returns only by throwing. */
  execve(path: Path, argv: string[], env: string[]): never;
  getrandom(length: number): Uint8Array;
}
