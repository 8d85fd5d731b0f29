/** Makes the directory that a merge has decided on. */
import {
  ascii,
  type ByteString,
  display,
  fromText,
  toBytes,
} from "../../../src/formats/bytestring.ts";
import {
  AT_EMPTY_PATH,
  AT_SYMLINK_NOFOLLOW,
  O_CLOEXEC,
  O_CREAT,
  O_EXCL,
  O_NOFOLLOW,
  O_RDONLY,
  O_WRONLY,
  S_IFBLK,
  S_IFCHR,
  S_IFIFO,
} from "../../../src/linux/constants.ts";
import { withDirectory } from "../../../src/linux/directories.ts";
import { writeAll } from "../../../src/linux/files.ts";
import { changeInodeFlags, FS_APPEND_FL, FS_IMMUTABLE_FL } from "../../../src/linux/inode-flags.ts";
import { type Fd, isErrno, type Linux } from "../../../src/linux/linux.ts";
import {
  below,
  type EtcDirectory,
  type EtcLeaf,
  type EtcStat,
  type FileContent,
} from "../../../src/model/etc/tree.ts";
import { cloneContent, readContent } from "../../repository/file-content.ts";
import { naming } from "../../scan.ts";
import { EtcChangedError, FileOnDisk } from "./content.ts";

const NEW_FILE = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
const READ_ANY = O_RDONLY | O_NOFOLLOW | O_CLOEXEC;
const PRIVATE_FILE = 0o600;
const PRIVATE_DIRECTORY = 0o700;
const COPY_AT_ONCE = 1 << 30;
const HERE = ascii(".");

/**
 * Makes `name`, which must not exist, in `parent`: the tree with owners, modes, extended attributes, hard links and
 * modification times. Nothing is synced. Errors name the file; what was made until then stays.
 *
 * For each entry: content, owner, mode, extended attributes, time. Each of these steps may take away what a later one
 * gives (`chown` the set-user-ID bit and capabilities). A directory gets its own after what is in it, so that it can be
 * written until then, hands down no default ACL, and keeps its time; until then nobody else can look into it. What is
 * protected by flags (chattr) is so when all is made: it could not get another name before.
 */
export function buildEtc(linux: Linux, parent: Fd, name: string, tree: EtcDirectory): void {
  const umask = process.umask(0); // the mode of a device cannot be changed through a descriptor
  try {
    linux.mkdirat(parent, name, PRIVATE_DIRECTORY);
    withDirectory(linux, parent, name, (root) => {
      const builder = new Builder(linux, root, name);
      builder.directory(root, "" as ByteString, tree);
      builder.protect();
      setTime(linux, parent, fromText(name), tree.stat);
    });
  } finally {
    process.umask(umask);
  }
}

class Builder {
  readonly #linux: Linux;
  readonly #root: Fd;
  readonly #name: string;
  /** The first name of each leaf. */
  readonly #made = new Map<EtcLeaf, ByteString>();
  readonly #protected: { readonly path: ByteString; readonly flags: number }[] = [];

  constructor(linux: Linux, root: Fd, name: string) {
    this.#linux = linux;
    this.#root = root;
    this.#name = name;
  }

  /** Fills an open directory, and gives it its attributes but for the time. */
  directory(fd: Fd, path: ByteString, directory: EtcDirectory): void {
    if (directory.unreadable) throw new Error(`${this.#full(path)}: it may not be read`);
    for (const [name, entry] of directory.entries) {
      const at = below(path, name);
      if (entry.type === "leaf") this.#about(at, () => this.#leaf(fd, name, at, entry));
      else this.#subdirectory(fd, name, at, entry);
    }
    this.#about(path, () => {
      const { uid, gid, mode } = directory.stat;
      this.#linux.fchownat(fd, "", uid, gid, AT_EMPTY_PATH);
      this.#linux.fchmod(fd, mode);
      this.#setXattrs(fd, HERE, directory.stat);
    });
  }

  #subdirectory(parent: Fd, name: ByteString, path: ByteString, entry: EtcDirectory): void {
    const linux = this.#linux;
    this.#about(path, () => linux.mkdirat(parent, toBytes(name), PRIVATE_DIRECTORY));
    withDirectory(linux, parent, toBytes(name), (fd) => this.directory(fd, path, entry));
    this.#about(path, () => setTime(linux, parent, name, entry.stat));
    this.#note(path, entry.stat);
  }

  /** Sets the flags that protect. */
  protect(): void {
    for (const { path, flags } of this.#protected) {
      this.#about(path, () => {
        const fd = this.#linux.openat(this.#root, toBytes(path), READ_ANY);
        try {
          changeInodeFlags(this.#linux, fd, { set: flags });
        } finally {
          this.#linux.close(fd);
        }
      });
    }
  }

  #note(path: ByteString, { immutable, appendOnly }: EtcStat): void {
    const flags = (immutable ? FS_IMMUTABLE_FL : 0) | (appendOnly ? FS_APPEND_FL : 0);
    if (flags !== 0) this.#protected.push({ path, flags });
  }

  #leaf(parent: Fd, name: ByteString, path: ByteString, leaf: EtcLeaf): void {
    const first = this.#made.get(leaf);
    if (first !== undefined) {
      this.#linux.linkat(this.#root, toBytes(first), parent, toBytes(name), 0);
      return;
    }
    if (leaf.content.type === "file") this.#file(parent, name, leaf.content.data, leaf.stat);
    else this.#special(parent, name, leaf);
    this.#setXattrs(parent, name, leaf.stat);
    setTime(this.#linux, parent, name, leaf.stat);
    this.#made.set(leaf, path);
    this.#note(path, leaf.stat);
  }

  #file(parent: Fd, name: ByteString, content: FileContent, { uid, gid, mode }: EtcStat): void {
    const linux = this.#linux;
    const fd = linux.openat(parent, toBytes(name), NEW_FILE, PRIVATE_FILE);
    try {
      if (content instanceof FileOnDisk) copyFile(linux, content, fd);
      else writeAll(linux, fd, content.read());
      linux.fchownat(fd, "", uid, gid, AT_EMPTY_PATH);
      linux.fchmod(fd, mode);
    } finally {
      linux.close(fd);
    }
  }

  #special(parent: Fd, name: ByteString, { content, stat }: EtcLeaf): void {
    const linux = this.#linux;
    const path = toBytes(name);
    switch (content.type) {
      case "symlink":
        linux.symlinkat(toBytes(content.target), parent, path);
        break;
      case "character device":
        linux.mknodat(parent, path, S_IFCHR | stat.mode, content.rdev);
        break;
      case "block device":
        linux.mknodat(parent, path, S_IFBLK | stat.mode, content.rdev);
        break;
      case "fifo":
        linux.mknodat(parent, path, S_IFIFO | stat.mode, 0);
        break;
      default:
        throw new Error(`a ${content.type} cannot be made`);
    }
    linux.fchownat(parent, path, stat.uid, stat.gid, AT_SYMLINK_NOFOLLOW);
  }

  #setXattrs(parent: Fd, name: ByteString, { xattrs }: EtcStat): void {
    const path = toBytes(`/proc/self/fd/${parent}/${name}` as ByteString);
    for (const [key, value] of xattrs) {
      try {
        this.#linux.lsetxattr(path, toBytes(key), value, 0);
      } catch (error) {
        throw new Error(`extended attribute ${display(key)}`, { cause: error });
      }
    }
  }

  #full(path: ByteString): string {
    return path === "" ? this.#name : `${this.#name}/${display(path)}`;
  }

  #about<T>(path: ByteString, call: () => T): T {
    try {
      return naming(fromText(this.#full(path)), call);
    } catch (error) {
      const { cause } = error as Error;
      throw cause instanceof EtcChangedError ? cause : error;
    }
  }
}

function setTime(
  linux: Linux,
  parent: Fd,
  name: ByteString,
  { mtimeSec, mtimeNsec }: EtcStat,
): void {
  linux.utimensat(parent, toBytes(name), mtimeSec, mtimeNsec, AT_SYMLINK_NOFOLLOW);
}

function copyFile(linux: Linux, content: FileOnDisk, to: Fd): void {
  let opened = false;
  try {
    content.use((from) => {
      opened = true;
      copyContent(linux, from, to, content.size);
    });
  } catch (error) {
    if (opened || error instanceof EtcChangedError) throw error;
    throw new Error("copy", { cause: error }); // which names the file that it is copied from
  }
}

/** Shares the blocks if the file systems can; else the kernel copies, or we do. */
function copyContent(linux: Linux, from: Fd, to: Fd, size: number): void {
  if (size === 0 || cloneContent(linux, from, to) === "cloned") return;
  if (copyInKernel(linux, from, to)) return;
  linux.ftruncate(to, 0);
  let at = 0;
  readContent(linux, from, (piece) => {
    writeAll(linux, to, piece, at);
    at += piece.length;
  });
}

/** False if these two cannot be copied so; some of it may have been. */
function copyInKernel(linux: Linux, from: Fd, to: Fd): boolean {
  let copied = 0;
  try {
    for (;;) {
      const count = linux.copy_file_range(from, to, COPY_AT_ONCE);
      if (count === 0) return copied > 0; // some file systems say so where they cannot
      copied += count;
    }
  } catch (error) {
    if (isErrno(error, "EXDEV", "EINVAL", "ENOSYS", "EOPNOTSUPP", "EBADF", "ETXTBSY")) return false;
    throw error;
  }
}
