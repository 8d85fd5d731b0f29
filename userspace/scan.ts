/**
 * A directory of this machine as a tree. Everything is opened below its parent's descriptor and no symlink is followed, so
 * that whoever can rename files meanwhile cannot lead the scan out of the directory. Mounts are entered.
 */
import { ascii, type ByteString, fromText, toBytes } from "../src/formats/bytestring.ts";
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_SYMLINK_NOFOLLOW,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOCTTY,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_RDONLY,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  S_IFSOCK,
} from "../src/linux/constants.ts";
import { readAll } from "../src/linux/files.ts";
import {
  displayPath,
  type Fd,
  isErrno,
  type Linux,
  LinuxError,
  type Statx,
} from "../src/linux/linux.ts";
import type { Directory, Leaf, LeafContent, Node, Stat, Tree } from "../src/model/tree.ts";

/** Files up to this size are in the image itself. */
const MAX_INLINE = 64;

const DIRECTORY_FLAGS = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
// a FIFO or a device that takes a file's place at the wrong time must neither block nor act
const FILE_FLAGS = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
const HERE = ascii(".");
const USER_XATTRS = "user.";

/** Content that is not in the image. */
export interface Content {
  readonly size: number;
  /** The fs-verity digest. */
  readonly digest: Uint8Array;
}

/** Reads the content of an open file that is not in the image, and does with it what is to be done. */
export type TakeContent = (fd: Fd) => Content;

export interface ScanOptions {
  readonly take: TakeContent;
  /** The names of one inode become the names of one leaf; else each becomes a file of its own. */
  readonly hardlinks: boolean;
  readonly xattrs: "all" | "user" | "none";
  /** If not, block and character devices are left out, whiteouts too. */
  readonly devices: boolean;
  /** All modification times are 0. */
  readonly epoch: boolean;
}

/** Reads a directory with all that is below it. Errors name the file. */
export function scanDirectory(linux: Linux, path: string, options: ScanOptions): Tree {
  const fd = linux.openat(AT_FDCWD, path, DIRECTORY_FLAGS);
  try {
    return new Scanner(linux, options).directory(fd, fromText(path));
  } finally {
    linux.close(fd);
  }
}

class Scanner {
  readonly #linux: Linux;
  readonly #options: ScanOptions;
  /** By device and inode. */
  readonly #linked = new Map<string, Leaf>();

  constructor(linux: Linux, options: ScanOptions) {
    this.#linux = linux;
    this.#options = options;
  }

  directory(fd: Fd, path: ByteString): Directory {
    const stat = naming(path, () =>
      this.#statOf(this.#linux.statx(fd, "", AT_EMPTY_PATH), fd, HERE),
    );
    const directory: Directory = { type: "directory", stat, entries: new Map() };
    for (const { name } of this.#linux.readdir(fd)) {
      const child = (path.endsWith("/") ? path + name : `${path}/${name}`) as ByteString;
      const node = this.#node(fd, name, child);
      if (node !== undefined) directory.entries.set(name, node);
    }
    return directory;
  }

  #node(parent: Fd, name: ByteString, path: ByteString): Node | undefined {
    const found = naming(path, () => this.#linux.statx(parent, toBytes(name), AT_SYMLINK_NOFOLLOW));
    const type = found.mode & S_IFMT;
    if (!this.#options.devices && (type === S_IFCHR || type === S_IFBLK)) return undefined;
    const isFile = type === S_IFREG;
    if (!isFile && type !== S_IFDIR) {
      return this.#linkedLeaf(found, () => naming(path, () => this.#special(found, parent, name)));
    }
    const flags = isFile ? FILE_FLAGS : DIRECTORY_FLAGS | O_NOFOLLOW;
    const fd = naming(path, () => this.#linux.openat(parent, toBytes(name), flags));
    try {
      if (!isFile) return this.directory(fd, path);
      return this.#linkedLeaf(found, () => naming(path, () => this.#file(fd, parent, name)));
    } finally {
      this.#linux.close(fd);
    }
  }

  /** The leaf that another name of the inode made, or a new one. How many names it has, fuse-overlayfs does not know. */
  #linkedLeaf({ devMajor, devMinor, ino }: Statx, create: () => Leaf): Leaf {
    if (!this.#options.hardlinks) return create();
    const key = `${devMajor}:${devMinor}:${ino}`;
    const leaf = this.#linked.get(key) ?? create();
    this.#linked.set(key, leaf);
    return leaf;
  }

  #file(fd: Fd, parent: Fd, name: ByteString): Leaf {
    const found = this.#linux.statx(fd, "", AT_EMPTY_PATH);
    if ((found.mode & S_IFMT) !== S_IFREG) throw new Error("changed while it was read");
    const stat = this.#statOf(found, parent, name);
    const content: LeafContent =
      found.size > MAX_INLINE
        ? { type: "external", ...this.#options.take(fd), verity: true }
        : { type: "inline", data: readAll(this.#linux, fd, MAX_INLINE) };
    return { type: "leaf", stat, content };
  }

  #special(found: Statx, parent: Fd, name: ByteString): Leaf {
    const content = this.#specialContent(found, parent, name);
    return { type: "leaf", stat: this.#statOf(found, parent, name), content };
  }

  #specialContent(found: Statx, parent: Fd, name: ByteString): LeafContent {
    const type = found.mode & S_IFMT;
    switch (type) {
      case S_IFLNK:
        return { type: "symlink", target: this.#linux.readlinkat(parent, toBytes(name)) };
      case S_IFCHR:
        return { type: "chardev", rdev: deviceNumber(found) };
      case S_IFBLK:
        return { type: "blockdev", rdev: deviceNumber(found) };
      case S_IFIFO:
        return { type: "fifo" };
      case S_IFSOCK:
        return { type: "socket" };
      default:
        throw new Error(`unknown file type ${type.toString(8)}`);
    }
  }

  #statOf(found: Statx, parent: Fd, name: ByteString): Stat {
    const { epoch } = this.#options;
    return {
      mode: found.mode & 0o7777,
      uid: found.uid,
      gid: found.gid,
      mtimeSec: epoch ? 0n : found.mtimeSec,
      mtimeNsec: epoch ? 0 : found.mtimeNsec,
      xattrs: this.#xattrs(parent, name),
    };
  }

  /** There is no call for an entry of an open directory; the way through /proc comes to the same. */
  #xattrs(parent: Fd, name: ByteString): Map<ByteString, Uint8Array> {
    const xattrs = new Map<ByteString, Uint8Array>();
    if (this.#options.xattrs === "none") return xattrs;
    const path = toBytes(`/proc/self/fd/${parent}/${name}` as ByteString);
    const names = orNothing(() => this.#linux.llistxattr(path), "EOPNOTSUPP") ?? [];
    for (const key of names) {
      if (this.#options.xattrs === "user" && !key.startsWith(USER_XATTRS)) continue;
      const value = orNothing(() => this.#linux.lgetxattr(path, toBytes(key)), "ENODATA");
      if (value !== undefined) xattrs.set(key, value);
    }
    return xattrs;
  }
}

/** `st_rdev`, as Linux encodes it. */
export function deviceNumber({ rdevMajor, rdevMinor }: Statx): number {
  return ((rdevMinor & 0xff) | ((rdevMajor & 0xfff) << 8) | ((rdevMinor & ~0xff) << 12)) >>> 0;
}

/** `undefined` if the call fails with this code. */
export function orNothing<T>(call: () => T, code: string): T | undefined {
  try {
    return call();
  } catch (error) {
    if (isErrno(error, code)) return undefined;
    throw error;
  }
}

/** Errors of system calls name the file instead of descriptors. */
export function naming<T>(path: ByteString, call: () => T): T {
  try {
    return call();
  } catch (error) {
    const name = displayPath(toBytes(path));
    if (!(error instanceof LinuxError)) throw new Error(name, { cause: error });
    const { errno, code, description, syscall } = error;
    throw new LinuxError(errno, code, description, syscall, name);
  }
}
