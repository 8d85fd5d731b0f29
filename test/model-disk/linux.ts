/**
 * `Linux` on a disk in memory, for whoever needs to know what a program has done to it: each change is told to a log. There is
 * one process, root. It has no mounts; times are those of a clock that counts changes.
 */
import { type ByteString, display, fromText, toBytes } from "../../src/formats/bytestring.ts";
import { VERITY_ALGORITHM } from "../../src/formats/digest.ts";
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_REMOVEDIR,
  AT_SYMLINK_FOLLOW,
  AT_SYMLINK_NOFOLLOW,
  FS_IOC_ENABLE_VERITY,
  FS_IOC_MEASURE_VERITY,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_NOFOLLOW,
  O_PATH,
  O_RDONLY,
  O_TMPFILE,
  O_TRUNC,
  RENAME_EXCHANGE,
  RENAME_NOREPLACE,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
} from "../../src/linux/constants.ts";
import type { DirEntry, Fd, Linux, OpenHow, Path, Statfs, Statx } from "../../src/linux/linux.ts";
import { digestBytes } from "../../userspace/hash.ts";
import {
  type Body,
  type Change,
  type Disk,
  type FileSystem,
  type Ino,
  type Inode,
  isDirectory,
  type NameChange,
  newBody,
} from "./disk.ts";
import { type ErrorCode, fail } from "./errors.ts";
import { bytesOf, type Place, walk } from "./paths.ts";

const ACCESS = 3;
const FIRST_FD = 100;
const MAGIC = { journaled: 0xef53, fat: 0x4d44, memory: 0x01021994 } as const;
const EPOCH = 1_700_000_000n;

interface OpenFile {
  readonly inode: Inode;
  readonly access: number;
  readonly pathOnly: boolean;
  position: number;
}

export class ModelLinux implements Linux {
  readonly disk: Disk;
  /** Called with each change after it was made. */
  onChange: (change: Change) => void = () => {};
  readonly #open = new Map<Fd, OpenFile>();
  #nextFd: Fd = FIRST_FD;
  #clock: bigint;
  #random = 0;
  /** After so many changes nothing more happens. */
  changesLeft = Number.POSITIVE_INFINITY;
  /** What was done to a FAT file system that damages what nobody meant, for people. */
  readonly damage: string[] = [];

  constructor(disk: Disk) {
    this.disk = disk;
    this.#clock = EPOCH + BigInt(disk.age) * 1000n;
  }

  /** How many descriptors are open. */
  get openFiles(): number {
    return this.#open.size;
  }

  openat(dirfd: Fd, path: Path, flags: number, mode = 0): Fd {
    return this.openat2(dirfd, path, { flags, mode, resolve: 0 });
  }

  openat2(dirfd: Fd, path: Path, { flags, mode = 0, resolve }: OpenHow): Fd {
    const about = display(bytesOf(path));
    const fails = (code: ErrorCode) => fail(code, "openat", about);
    const creates = (flags & O_CREAT) !== 0;
    const writes = (flags & ACCESS) !== O_RDONLY;
    const exclusive = creates && (flags & O_EXCL) !== 0;
    const follow = (flags & O_NOFOLLOW) === 0 && !exclusive;
    const place = this.#walk(dirfd, path, "openat", follow, resolve);
    let { inode } = place;
    if ((flags & O_TMPFILE) === O_TMPFILE) return this.#openNameless(inode, flags, mode, about);
    if (inode === undefined) {
      if (!creates || place.name === undefined) return fails("ENOENT");
      inode = this.#birth(place.name.directory.fs, S_IFREG | mode);
      this.#link(place, inode);
    } else if (exclusive) {
      return fails("EEXIST");
    }
    if (writes && inode.body.verity !== undefined) return fails("EPERM");
    const type = inode.body.mode & S_IFMT;
    const pathOnly = (flags & O_PATH) !== 0;
    if ((flags & O_DIRECTORY) !== 0 && type !== S_IFDIR) return fails("ENOTDIR");
    if (type === S_IFLNK && !pathOnly) return fails("ELOOP");
    if (type === S_IFDIR && (writes || creates) && !pathOnly) return fails("EISDIR");
    if ((flags & O_TRUNC) !== 0 && !pathOnly && inode.body.data.length > 0) {
      this.#write(inode, new Uint8Array(0));
    }
    return this.#newFd(inode, flags);
  }

  #openNameless(at: Inode | undefined, flags: number, mode: number, about: string): Fd {
    if (at === undefined) return fail("ENOENT", "openat", about);
    if (!isDirectory(at)) return fail("ENOTDIR", "openat", about);
    if (at.fs.kind === "fat") return fail("EOPNOTSUPP", "openat", about);
    return this.#newFd(this.#birth(at.fs, S_IFREG | mode), flags & ~O_PATH);
  }

  #newFd(inode: Inode, flags: number): Fd {
    const fd = this.#nextFd++;
    const pathOnly = (flags & O_PATH) !== 0;
    this.#open.set(fd, { inode, access: flags & ACCESS, pathOnly, position: 0 });
    return fd;
  }

  open_by_handle_at(_mount: Fd, fd: Fd): Fd {
    return fail("EPERM", "open_by_handle_at", fd);
  }

  close(fd: Fd): void {
    if (!this.#open.delete(fd)) fail("EBADF", "close", fd);
  }

  read(fd: Fd, buffer: Uint8Array, position?: number): number {
    const file = this.#file(fd, "read");
    if (file.pathOnly || file.access === 1) fail("EBADF", "read", fd);
    if (isDirectory(file.inode)) fail("EISDIR", "read", fd);
    const from = position ?? file.position;
    const bytes = file.inode.body.data.subarray(from, from + buffer.length);
    buffer.set(bytes);
    if (position === undefined) file.position += bytes.length;
    return bytes.length;
  }

  write(fd: Fd, data: Uint8Array, position?: number): number {
    const file = this.#file(fd, "write");
    if (file.pathOnly || file.access === 0) fail("EBADF", "write", fd);
    const at = position ?? file.position;
    const before = file.inode.body.data;
    const after = new Uint8Array(Math.max(before.length, at + data.length));
    after.set(before);
    after.set(data, at);
    this.#write(file.inode, after);
    if (position === undefined) file.position += data.length;
    return data.length;
  }

  statx(dirfd: Fd, path: Path, flags: number): Statx {
    const inode = this.#inodeAt(dirfd, path, flags, "statx");
    const { ino, fs, body, names } = inode;
    const subdirectories = [...inode.entries.values()].filter((entry) =>
      isDirectory(this.disk.inode(entry)),
    ).length;
    const device = [...this.disk.fileSystems.keys()].indexOf(fs.name);
    return {
      mode: body.mode,
      nlink: isDirectory(inode) ? 2 + subdirectories : names,
      uid: body.uid,
      gid: body.gid,
      ino: BigInt(ino),
      size: (body.mode & S_IFMT) === S_IFLNK ? body.target.length : body.data.length,
      blocks: Math.ceil(body.data.length / 4096) * 8,
      mtimeSec: body.mtimeSec,
      mtimeNsec: body.mtimeNsec,
      rdevMajor: body.rdev >> 8,
      rdevMinor: body.rdev & 0xff,
      devMajor: 8,
      devMinor: device,
      mountId: BigInt(device + 1),
      attributes: 0n,
    };
  }

  readlinkat(dirfd: Fd, path: Path): ByteString {
    const inode = this.#inodeAt(dirfd, path, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH, "readlinkat");
    if ((inode.body.mode & S_IFMT) !== S_IFLNK) this.#fail("EINVAL", "readlinkat", path);
    return inode.body.target;
  }

  readdir(fd: Fd): DirEntry[] {
    const { inode, pathOnly } = this.#file(fd, "getdents64");
    if (pathOnly) fail("EBADF", "getdents64", fd);
    if (!isDirectory(inode)) fail("ENOTDIR", "getdents64", fd);
    return [...inode.entries].map(([name, ino]) => ({
      name,
      type: (this.disk.inode(ino).body.mode & S_IFMT) >> 12,
      ino: BigInt(ino),
    }));
  }

  faccessat(dirfd: Fd, path: Path): void {
    this.#inodeAt(dirfd, path, 0, "faccessat");
  }

  mkdirat(dirfd: Fd, path: Path, mode: number): void {
    const place = this.#vacant(dirfd, path, "mkdirat");
    this.#link(place, this.#birth(place.name.directory.fs, S_IFDIR | mode));
  }

  mknodat(dirfd: Fd, path: Path, mode: number, rdev: number): void {
    const place = this.#vacant(dirfd, path, "mknodat");
    this.#refuseFat(place.name.directory, "mknodat", path);
    this.#link(place, this.#birth(place.name.directory.fs, mode, { rdev }));
  }

  symlinkat(target: Path, dirfd: Fd, path: Path): void {
    const place = this.#vacant(dirfd, path, "symlinkat");
    this.#refuseFat(place.name.directory, "symlinkat", path);
    const { fs } = place.name.directory;
    this.#link(place, this.#birth(fs, S_IFLNK | 0o777, { target: bytesOf(target) }));
  }

  linkat(olddirfd: Fd, oldpath: Path, newdirfd: Fd, newpath: Path, flags: number): void {
    const nofollow = (flags & AT_SYMLINK_FOLLOW) === 0 ? AT_SYMLINK_NOFOLLOW : 0;
    const inode = this.#inodeAt(olddirfd, oldpath, nofollow, "linkat");
    const place = this.#vacant(newdirfd, newpath, "linkat");
    if (inode.fs !== place.name.directory.fs) this.#fail("EXDEV", "linkat", newpath);
    if (isDirectory(inode)) this.#fail("EPERM", "linkat", oldpath);
    this.#refuseFat(inode, "linkat", newpath);
    this.#link(place, inode);
  }

  unlinkat(dirfd: Fd, path: Path, flags: number): void {
    const { inode, name } = this.#walk(dirfd, path, "unlinkat", false);
    if (inode === undefined) this.#fail("ENOENT", "unlinkat", path);
    if (name === undefined) this.#fail("EINVAL", "unlinkat", path);
    const directory = (flags & AT_REMOVEDIR) !== 0;
    if (isDirectory(inode) !== directory) {
      this.#fail(directory ? "ENOTDIR" : "EISDIR", "unlinkat", path);
    }
    if (inode.entries.size > 0) this.#fail("ENOTEMPTY", "unlinkat", path);
    this.#names(inode.fs, [{ directory: name.directory.ino, name: name.name, to: undefined }]);
  }

  renameat2(olddirfd: Fd, oldpath: Path, newdirfd: Fd, newpath: Path, flags: number): void {
    const from = this.#walk(olddirfd, oldpath, "renameat2", false);
    const to = this.#walk(newdirfd, newpath, "renameat2", false);
    const refusal = this.#whyNotRenamed(from, to, flags);
    if (refusal !== undefined) this.#fail(refusal, "renameat2", newpath);
    const inode = from.inode!;
    if (inode === to.inode) return;
    const left = flags === RENAME_EXCHANGE ? to.inode?.ino : undefined;
    this.#names(inode.fs, [
      { directory: from.name!.directory.ino, name: from.name!.name, to: left },
      { directory: to.name!.directory.ino, name: to.name!.name, to: inode.ino },
    ]);
  }

  #whyNotRenamed(from: Place, to: Place, flags: number): ErrorCode | undefined {
    const exchange = flags === RENAME_EXCHANGE;
    if (from.name === undefined || to.name === undefined) return "EINVAL";
    if (from.name.directory.fs !== to.name.directory.fs) return "EXDEV";
    if (from.inode === undefined) return "ENOENT";
    if (flags === RENAME_NOREPLACE && to.inode !== undefined) return "EEXIST";
    if (exchange && to.inode === undefined) return "ENOENT";
    if (this.#isBelow(to.name.directory, from.inode)) return "EINVAL";
    if (to.inode === undefined) return undefined;
    if (this.#isBelow(from.name.directory, to.inode)) return exchange ? "EINVAL" : "ENOTEMPTY";
    if (exchange || from.inode === to.inode) return undefined;
    if (isDirectory(from.inode) && !isDirectory(to.inode)) return "ENOTDIR";
    if (!isDirectory(from.inode) && isDirectory(to.inode)) return "EISDIR";
    return to.inode.entries.size > 0 ? "ENOTEMPTY" : undefined;
  }

  /** Whether `inode` is `directory` or holds it. */
  #isBelow(directory: Inode, inode: Inode): boolean {
    for (let at = directory; ; at = this.disk.inode(at.parent)) {
      if (at === inode) return true;
      if (at.parent === at.ino) return false;
    }
  }

  fchmod(fd: Fd, mode: number): void {
    const { inode, pathOnly } = this.#file(fd, "fchmod");
    if (pathOnly) fail("EBADF", "fchmod", fd);
    if (inode.fs.kind === "fat") return;
    this.#setBody(inode, { mode: (inode.body.mode & S_IFMT) | (mode & 0o7777) });
  }

  fchownat(dirfd: Fd, path: Path, uid: number, gid: number, flags: number): void {
    const inode = this.#inodeAt(dirfd, path, flags, "fchownat");
    if (inode.fs.kind === "fat") {
      if (uid !== 0 || gid !== 0) this.#fail("EPERM", "fchownat", path);
      return;
    }
    const type = inode.body.mode & S_IFMT;
    const drop = type !== S_IFREG ? 0 : (inode.body.mode & 0o10) !== 0 ? 0o6000 : 0o4000;
    this.#setBody(inode, { uid, gid, mode: inode.body.mode & ~drop });
  }

  utimensat(dirfd: Fd, path: Path, mtimeSec: bigint, mtimeNsec: number, flags: number): void {
    const inode = this.#inodeAt(dirfd, path, flags, "utimensat");
    this.#setBody(inode, { mtimeSec, mtimeNsec });
  }

  ftruncate(fd: Fd, length: number): void {
    const { inode, access, pathOnly } = this.#file(fd, "ftruncate");
    if (pathOnly) fail("EBADF", "ftruncate", fd);
    if (access === 0 || isDirectory(inode)) fail("EINVAL", "ftruncate", fd);
    const after = new Uint8Array(length);
    after.set(inode.body.data.subarray(0, length));
    this.#write(inode, after);
  }

  fsync(fd: Fd): void {
    const { inode, pathOnly } = this.#file(fd, "fsync");
    if (pathOnly) fail("EBADF", "fsync", fd);
    this.#change({ type: "sync", fs: inode.fs, ino: inode.ino });
  }

  fdatasync(fd: Fd): void {
    this.fsync(fd);
  }

  syncfs(fd: Fd): void {
    const { inode, pathOnly } = this.#file(fd, "syncfs");
    if (pathOnly) fail("EBADF", "syncfs", fd);
    this.#change({ type: "sync", fs: inode.fs, ino: undefined });
  }

  flock(fd: Fd): void {
    this.#file(fd, "flock"); // nobody else is there
  }

  fcntlLock(fd: Fd): void {
    this.#file(fd, "fcntl");
  }

  fstatfs(fd: Fd): Statfs {
    const { inode } = this.#file(fd, "fstatfs");
    const space = 1 << 20;
    const type = MAGIC[inode.fs.kind];
    return { type, blockSize: 4096, blocks: space, available: space, flags: 0 };
  }

  copy_file_range(from: Fd, to: Fd, length: number): number {
    const source = this.#file(from, "copy_file_range");
    const { position } = source;
    const piece = source.inode.body.data.slice(position, position + length);
    if (piece.length > 0) this.write(to, piece);
    source.position += piece.length;
    return piece.length;
  }

  ioctl(fd: Fd, request: number, argument: Uint8Array): number {
    const { inode, access } = this.#file(fd, "ioctl");
    if (!inode.fs.verity) return fail("ENOTTY", "ioctl", fd);
    const { body } = inode;
    switch (request) {
      case FS_IOC_MEASURE_VERITY:
        if (body.verity === undefined) return fail("ENODATA", "ioctl", fd);
        argument.set(body.verity);
        return 0;
      case FS_IOC_ENABLE_VERITY: {
        if (body.verity !== undefined) return fail("EEXIST", "ioctl", fd);
        const writers = [...this.#open.values()].filter((file) => file.inode === inode);
        if (access !== O_RDONLY || writers.some((file) => file.access !== O_RDONLY)) {
          return fail("ETXTBSY", "ioctl", fd);
        }
        this.#setBody(inode, { verity: measured(body.data, argument) });
        return 0;
      }
      default:
        return fail("ENOTTY", "ioctl", fd);
    }
  }

  ioctlValue(fd: Fd): number {
    return fail("EOPNOTSUPP", "ioctl", fd);
  }

  llistxattr(path: Path): ByteString[] {
    return [...this.#withXattrs(path, "llistxattr").body.xattrs.keys()];
  }

  lgetxattr(path: Path, name: Path): Uint8Array {
    const value = this.#withXattrs(path, "lgetxattr").body.xattrs.get(bytesOf(name));
    return value ?? this.#fail("ENODATA", "lgetxattr", path);
  }

  lsetxattr(path: Path, name: Path, value: Uint8Array): void {
    const inode = this.#withXattrs(path, "lsetxattr");
    const xattrs = new Map(inode.body.xattrs).set(bytesOf(name), value.slice());
    this.#setBody(inode, { xattrs });
  }

  #withXattrs(path: Path, syscall: string): Inode {
    const inode = this.#inodeAt(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, syscall);
    if (inode.fs.kind === "fat") this.#fail("EOPNOTSUPP", syscall, path);
    return inode;
  }

  fsopen(fsname: string): Fd {
    return fail("EPERM", "fsopen", fsname);
  }
  fsconfig(fd: Fd): void {
    fail("EBADF", "fsconfig", fd);
  }
  fsmount(fd: Fd): Fd {
    return fail("EBADF", "fsmount", fd);
  }
  open_tree(_dirfd: Fd, path: Path): Fd {
    return this.#fail("EPERM", "open_tree", path);
  }
  move_mount(_from: Fd, path: Path): void {
    this.#fail("EPERM", "move_mount", path);
  }
  mount_setattr(_dirfd: Fd, path: Path): void {
    this.#fail("EPERM", "mount_setattr", path);
  }
  mount(_source: Path | null, target: Path): void {
    this.#fail("EPERM", "mount", target);
  }
  umount2(target: Path): void {
    this.#fail("EPERM", "umount2", target);
  }
  unshare(): void {
    fail("EPERM", "unshare", "");
  }
  setns(fd: Fd): void {
    fail("EPERM", "setns", fd);
  }
  geteuid(): number {
    return 0;
  }
  execve(path: Path): never {
    return this.#fail("ENOENT", "execve", path);
  }

  /** Always the same bytes in the same order. */
  getrandom(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => {
      this.#random = (Math.imul(this.#random, 1_103_515_245) + 12_345) >>> 0;
      return this.#random >>> 16;
    });
  }

  #file(fd: Fd, syscall: string): OpenFile {
    return this.#open.get(fd) ?? fail("EBADF", syscall, fd);
  }

  #walk(dirfd: Fd, path: Path, syscall: string, follow: boolean, resolve = 0): Place {
    const opened = (fd: Fd) => this.#file(fd, syscall).inode;
    const options = { syscall, follow, resolve };
    return walk(this.disk, () => opened(dirfd), opened, bytesOf(path), options);
  }

  #inodeAt(dirfd: Fd, path: Path, flags: number, syscall: string): Inode {
    if (path.length === 0 && (flags & AT_EMPTY_PATH) !== 0) return this.#file(dirfd, syscall).inode;
    const { inode } = this.#walk(dirfd, path, syscall, (flags & AT_SYMLINK_NOFOLLOW) === 0);
    return inode ?? this.#fail("ENOENT", syscall, path);
  }

  /** A name that is not taken. */
  #vacant(dirfd: Fd, path: Path, syscall: string): Place & { name: NonNullable<Place["name"]> } {
    const { inode, name } = this.#walk(dirfd, path, syscall, false);
    if (inode !== undefined || name === undefined) return this.#fail("EEXIST", syscall, path);
    return { inode, name };
  }

  #refuseFat({ fs }: Inode, syscall: string, path: Path): void {
    if (fs.kind === "fat") this.#fail("EPERM", syscall, path);
  }

  #fail(code: ErrorCode, syscall: string, path: Path): never {
    return fail(code, syscall, typeof path === "string" ? path : display(bytesOf(path)));
  }

  #birth(fs: FileSystem, mode: number, more: Partial<Body> = {}): Inode {
    const ino = this.disk.newIno();
    const body = { ...newBody(mode, this.#clock++), ...more };
    this.#change({ type: "birth", fs, ino, body });
    return this.disk.inode(ino);
  }

  #link({ name }: Place, inode: Inode): void {
    if (name === undefined) throw new Error("a place without a name");
    this.#names(inode.fs, [{ directory: name.directory.ino, name: name.name, to: inode.ino }]);
  }

  #names(fs: FileSystem, changes: readonly NameChange[]): void {
    this.#change({ type: "names", fs, changes });
  }

  #write(inode: Inode, data: Uint8Array): void {
    this.#setBody(inode, { data, mtimeSec: this.#clock++, mtimeNsec: 0 });
  }

  #setBody({ fs, ino, body }: Inode, changed: Partial<Body>): void {
    this.#change({ type: "body", fs, ino, body: { ...body, ...changed } });
  }

  /** Two names of one file, or of one that the file system takes for free, part only by a repair. */
  #notice(change: Change): void {
    if (change.fs.kind !== "fat") return;
    const shared = (ino: Ino | undefined) => ino !== undefined && this.disk.inode(ino).names > 1;
    const tell = (what: string) => this.damage.push(`${change.fs.name}: ${what}`);
    if (change.type === "body" && shared(change.ino)) tell("writes to a file with two names");
    if (change.type !== "names") return;
    for (const { directory, name, to } of change.changes) {
      if (shared(directory)) tell(`changes ${name} in a directory with two names`);
      const before = this.disk.inode(directory).entries.get(name);
      const goes = before !== undefined && !change.changes.some((one) => one.to === before);
      if (!goes || to === before) continue;
      if (shared(before)) tell(`removes ${name}, which has another name`);
      if (this.disk.inode(before).reused) tell(`removes ${name}, which other files are in`);
    }
  }

  #change(change: Change): void {
    if (this.changesLeft-- <= 0) throw new Error("the process was killed");
    this.#notice(change);
    this.disk.apply(change);
    this.onChange(change);
  }
}

/** `struct fsverity_digest` of this content, by the algorithm that `struct fsverity_enable_arg` names. */
function measured(data: Uint8Array, argument: Uint8Array): Uint8Array {
  const algorithm = new DataView(argument.buffer, argument.byteOffset).getUint32(4, true);
  const hash = algorithm === VERITY_ALGORITHM.sha256 ? "sha256" : "sha512";
  const digest = digestBytes(hash, data);
  return Uint8Array.from([algorithm, 0, digest.length, 0, ...digest]);
}

/** Makes a file, for tests that set the scene. */
export function putFile(linux: ModelLinux, path: string, content: string): void {
  const fd = linux.openat(AT_FDCWD, path, O_CREAT | O_TRUNC | 1, 0o644);
  linux.write(fd, toBytes(fromText(content)));
  linux.close(fd);
}
