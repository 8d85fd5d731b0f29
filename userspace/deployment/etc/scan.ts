/**
 * `/etc` as the merge sees it. Every entry is opened below its parent's descriptor, and what is reported is what that
 * descriptor has, so nobody who renames files meanwhile can lead the scan out of the directory. What vanishes before it is
 * opened was not there; what changes between the scan and the reading of its content is an `EtcChangedError`, and then one
 * begins again.
 */
import {
  ascii,
  type ByteString,
  display,
  fromText,
  toBytes,
} from "../../../src/formats/bytestring.ts";
import {
  AT_EMPTY_PATH,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  O_RDONLY,
  OPEN_TREE_CLOEXEC,
  OPEN_TREE_CLONE,
  RESOLVE_NO_XDEV,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
} from "../../../src/linux/constants.ts";
import { STATX_ATTR_APPEND, STATX_ATTR_IMMUTABLE } from "../../../src/linux/inode-flags.ts";
import { type Fd, isErrno, type Linux, type Path, type Statx } from "../../../src/linux/linux.ts";
import {
  below,
  type EtcContent,
  type EtcLeaf,
  type EtcMount,
  type EtcStat,
  type FoundDirectory,
} from "../../../src/model/etc/tree.ts";
import { deviceNumber, naming, orNothing } from "../../scan.ts";
import { FileOnDisk, SAFE } from "./content.ts";

/** Each level holds a descriptor while it is read. */
const MAX_DEPTH = 200;

const READ_DIRECTORY = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
const HERE = ascii(".");

/** A directory, and what it is called in messages. */
export interface EtcPlace {
  readonly dirfd: Fd;
  readonly path: Path;
  readonly name: string;
}

/** The content of files is read through the directory that stays open, until it is disposed. */
export interface ScannedEtc extends Disposable {
  readonly tree: FoundDirectory;
}

/**
 * Reads a directory with all that is below it. Errors name the file.
 *
 * Mounts below it are "entered", as befits an image that is mounted in pieces, or "aside": `/etc` of a running system may
 * have some (containers mount files on `/etc/resolv.conf` and others), and what the machine's configuration is lies
 * beneath. With the right to clone a mount that is what is read. Without it such an entry is an `EtcMount`.
 */
export function scanEtc(linux: Linux, place: EtcPlace, mounts: "entered" | "aside"): ScannedEtc {
  const root = naming(fromText(place.name), () =>
    mounts === "aside" ? openBeneathMounts(linux, place) : openPlain(linux, place),
  );
  try {
    const crossing = mounts === "aside" ? RESOLVE_NO_XDEV : 0;
    const tree = new Scanner(linux, root, place.name, crossing).scan();
    return { tree, [Symbol.dispose]: () => linux.close(root) };
  } catch (error) {
    linux.close(root);
    throw error;
  }
}

function openPlain(linux: Linux, { dirfd, path }: EtcPlace): Fd {
  return linux.openat(dirfd, path, READ_DIRECTORY);
}

/** A clone of a mount has none of those on it. */
function openBeneathMounts(linux: Linux, place: EtcPlace): Fd {
  let clone: Fd;
  try {
    clone = linux.open_tree(place.dirfd, place.path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
  } catch (error) {
    // no such right, mounts that a container must not look beneath, an old kernel
    if (isErrno(error, "EPERM", "EACCES", "EINVAL", "ENOSYS")) return openPlain(linux, place);
    throw error;
  }
  try {
    return linux.openat(clone, ".", READ_DIRECTORY);
  } finally {
    linux.close(clone);
  }
}

class Scanner {
  readonly #linux: Linux;
  readonly #root: Fd;
  readonly #name: string;
  readonly #resolve: number;
  /** Those that have several names, by device and inode. */
  readonly #linked = new Map<string, EtcLeaf>();

  constructor(linux: Linux, root: Fd, name: string, resolve: number) {
    this.#linux = linux;
    this.#root = root;
    this.#name = name;
    this.#resolve = SAFE | resolve;
  }

  scan(): FoundDirectory {
    const found = this.#directory(this.#root, "" as ByteString, 0);
    const { immutable: _, appendOnly: __, ...stat } = found.stat;
    return { ...found, stat }; // one that is protected could not be exchanged
  }

  #directory(fd: Fd, path: ByteString, depth: number): FoundDirectory {
    const stat = this.#about(path, () =>
      this.#statOf(this.#linux.statx(fd, "", AT_EMPTY_PATH), fd, HERE),
    );
    if (depth > MAX_DEPTH)
      throw new Error(`${this.#full(path)}: more than ${MAX_DEPTH} directories deep`);
    const entries = new Map<ByteString, EtcLeaf | FoundDirectory | EtcMount>();
    for (const { name } of this.#about(path, () => this.#linux.readdir(fd))) {
      const node = this.#node(fd, name, below(path, name), depth);
      if (node !== undefined) entries.set(name, node);
    }
    return { type: "directory", stat, entries };
  }

  #node(parent: Fd, name: ByteString, path: ByteString, depth: number) {
    let fd: Fd;
    try {
      const how = { flags: O_PATH | O_NOFOLLOW | O_CLOEXEC, resolve: this.#resolve };
      fd = this.#about(path, () => this.#linux.openat2(parent, toBytes(name), how));
    } catch (error) {
      if (isErrno(error, "ENOENT")) return undefined;
      if (isErrno(error, "EXDEV")) return { type: "mount" } as const;
      throw error;
    }
    try {
      const found = this.#about(path, () => this.#linux.statx(fd, "", AT_EMPTY_PATH));
      if ((found.mode & S_IFMT) === S_IFDIR)
        return this.#subdirectory(fd, parent, name, path, depth);
      return this.#about(path, () => this.#leaf(found, fd, parent, name, path));
    } catch (error) {
      if (isErrno(error, "ENOENT")) return undefined; // its attributes went with it
      throw error;
    } finally {
      this.#linux.close(fd);
    }
  }

  #subdirectory(
    fd: Fd,
    parent: Fd,
    name: ByteString,
    path: ByteString,
    depth: number,
  ): FoundDirectory {
    let open: Fd;
    try {
      open = this.#about(path, () => this.#linux.openat(fd, ".", READ_DIRECTORY));
    } catch (error) {
      if (!isErrno(error, "EACCES")) throw error;
      const found = this.#linux.statx(fd, "", AT_EMPTY_PATH);
      const stat = this.#statOf(found, parent, name);
      return { type: "directory", stat, entries: new Map(), unreadable: true };
    }
    try {
      return this.#directory(open, path, depth + 1);
    } finally {
      this.#linux.close(open);
    }
  }

  #leaf(found: Statx, fd: Fd, parent: Fd, name: ByteString, path: ByteString): EtcLeaf {
    const key = `${found.devMajor}:${found.devMinor}:${found.ino}`;
    const known = found.nlink > 1 ? this.#linked.get(key) : undefined;
    if (known !== undefined) return known;
    const content = this.#content(found, fd, path);
    const leaf: EtcLeaf = { type: "leaf", stat: this.#statOf(found, parent, name), content };
    this.#linked.set(key, leaf);
    return leaf;
  }

  #content(found: Statx, fd: Fd, path: ByteString): EtcContent {
    const type = found.mode & S_IFMT;
    switch (type) {
      case S_IFREG: {
        const data = new FileOnDisk(this.#linux, this.#root, path, this.#full(path), found);
        return { type: "file", data };
      }
      case S_IFLNK:
        return { type: "symlink", target: this.#linux.readlinkat(fd, "") };
      case S_IFCHR:
        return { type: "character device", rdev: deviceNumber(found) };
      case S_IFBLK:
        return { type: "block device", rdev: deviceNumber(found) };
      case S_IFIFO:
        return { type: "fifo" };
      default:
        return { type: "socket" };
    }
  }

  #statOf(found: Statx, parent: Fd, name: ByteString): EtcStat {
    const { uid, gid, mtimeSec, mtimeNsec } = found;
    const xattrs = this.#xattrs(parent, name);
    const mode = found.mode & 0o7777;
    return { mode, uid, gid, mtimeSec, mtimeNsec, xattrs, ...flagsOf(found) };
  }

  /** There is no call for an entry of an open directory; the way through /proc comes to the same. */
  #xattrs(parent: Fd, name: ByteString): Map<ByteString, Uint8Array> {
    const xattrs = new Map<ByteString, Uint8Array>();
    const path = toBytes(`/proc/self/fd/${parent}/${name}` as ByteString);
    const names = orNothing(() => this.#linux.llistxattr(path), "EOPNOTSUPP") ?? [];
    for (const key of names) {
      const value = orNothing(() => this.#xattr(path, key), "ENODATA");
      if (value !== undefined) xattrs.set(key, value);
    }
    return xattrs;
  }

  /** Who may not read a file may not read all of its attributes either; that it is unreadable is said anyway. */
  #xattr(path: Uint8Array, key: ByteString): Uint8Array | undefined {
    return orNothing(() => this.#linux.lgetxattr(path, toBytes(key)), "EACCES");
  }

  #full(path: ByteString): string {
    return path === "" ? this.#name : `${this.#name}/${display(path)}`;
  }

  /** Errors of system calls name the file instead of descriptors. */
  #about<T>(path: ByteString, call: () => T): T {
    return naming(fromText(this.#full(path)), call);
  }
}

/** Those of chattr(1) that protect. */
function flagsOf({ attributes }: Statx): Pick<EtcStat, "immutable" | "appendOnly"> {
  return {
    ...((attributes & STATX_ATTR_IMMUTABLE) !== 0n && { immutable: true }),
    ...((attributes & STATX_ATTR_APPEND) !== 0n && { appendOnly: true }),
  };
}
