/** Reads EROFS images of composefs back into trees. */
import { type ByteString, display, fromBytes } from "../bytestring.ts";
import { digestOfObjectPath } from "../digest.ts";
import {
  type Directory,
  type Leaf,
  type LeafContent,
  NO_XATTRS,
  type Node,
  type Stat,
  type Tree,
  type Xattrs,
} from "../tree.ts";
import { ErofsImage, imageError, type StoredInode } from "./image.ts";
import { FILE_TYPE, LAYOUT, MAX_INLINE_V2, MAX_SYMLINK, MAX_SYMLINK_V2 } from "./layout.ts";
import { parseMetacopy } from "./metacopy.ts";
import type { StoredXattr } from "./stored-xattrs.ts";
import { isStubName } from "./stubs.ts";
import { walk } from "./walk.ts";
import {
  type MarkerXattr,
  unescapeXattrName,
  WHITEOUT_MARKERS,
  WHITEOUTS_MARKERS,
  XATTR,
} from "./xattr-names.ts";

/**
 * The tree that an image holds. An image that breaks a rule of its format, or of EROFS, is an error that names the
 * offset; so is one that is damaged where it matters. Content of files is not copied: it is a part of `bytes`.
 *
 * The tree is the one that was written, but for what images do not tell: nanoseconds in format 2; whether a whiteout in
 * the root is a user's that looks just like a stub.
 */
export function readErofs(bytes: Uint8Array): Tree {
  return new Reader(new ErofsImage(bytes)).read();
}

/** As `readErofs`, and the inode that each node of the tree is from. */
export function readErofsInodes(bytes: Uint8Array): {
  readonly tree: Tree;
  readonly inodes: ReadonlyMap<Node, StoredInode>;
} {
  const reader = new Reader(new ErofsImage(bytes));
  return { tree: reader.read(), inodes: reader.inodes() };
}

class Reader {
  readonly #image: ErofsImage;
  readonly #directories = new Map<StoredInode, Directory>();
  readonly #leaves = new Map<StoredInode, Leaf>();
  /** Directories that hold whiteouts, which are marked for that. */
  readonly #withWhiteouts = new Set<StoredInode>();

  constructor(image: ErofsImage) {
    this.#image = image;
  }

  read(): Tree {
    let root: Directory | undefined;
    for (const { parent, name, inode, first } of walk(this.#image)) {
      if (inode.fileType === FILE_TYPE.directory) {
        const directory: Directory = {
          type: "directory",
          stat: bareStat(inode),
          entries: new Map(),
        };
        this.#directories.set(inode, directory);
        if (parent === undefined) root = directory;
        else this.#directories.get(parent)!.entries.set(name, directory);
        continue;
      }
      if (this.#isStub(parent!, name, inode)) continue;
      const leaf = first ? this.#leaf(inode, parent!) : this.#leaves.get(inode)!;
      this.#directories.get(parent!)!.entries.set(name, leaf);
    }
    // only now is it known which of a directory's xattrs are marks
    for (const [inode, { stat }] of this.#directories) {
      const marked = this.#withWhiteouts.has(inode);
      const markers = marked ? WHITEOUTS_MARKERS[this.#image.format] : [];
      stat.xattrs = ownXattrs(without(inode.xattrs, markers));
    }
    return root!;
  }

  /** After `read`. */
  inodes(): Map<Node, StoredInode> {
    const read: [StoredInode, Node][] = [...this.#directories, ...this.#leaves];
    return new Map(read.map(([inode, node]) => [node, inode]));
  }

  #isStub(parent: StoredInode, name: ByteString, inode: StoredInode): boolean {
    return (
      this.#image.format !== 2 &&
      parent.nid === this.#image.rootNid &&
      isStubName(name) &&
      inode.fileType === FILE_TYPE.chardev &&
      inode.data === 0
    );
  }

  #leaf(inode: StoredInode, parent: StoredInode): Leaf {
    let xattrs = inode.xattrs;
    let content: LeafContent;
    if (this.#image.format !== 2 && isEscapedWhiteout(inode)) {
      if (inode.nlink > 1) throw imageError(inode.offset, "a whiteout with more than one name");
      xattrs = without(xattrs, WHITEOUT_MARKERS);
      content = { type: "chardev", rdev: 0 };
      this.#withWhiteouts.add(parent);
    } else {
      content = this.#content(inode);
    }
    const leaf: Leaf = {
      type: "leaf",
      stat: { ...bareStat(inode), xattrs: ownXattrs(xattrs) },
      content,
    };
    this.#leaves.set(inode, leaf);
    return leaf;
  }

  #content(inode: StoredInode): LeafContent {
    switch (inode.fileType) {
      case FILE_TYPE.regular:
        return this.#regular(inode);
      case FILE_TYPE.symlink: {
        const target = this.#limited(inode, MAX_SYMLINK_V2, MAX_SYMLINK, "target of a symlink");
        if (target.length === 0 || target.includes(0)) {
          throw imageError(inode.offset, "not the target of a symlink");
        }
        return { type: "symlink", target: fromBytes(target) };
      }
      case FILE_TYPE.chardev:
        return { type: "chardev", rdev: inode.data };
      case FILE_TYPE.blockdev:
        return { type: "blockdev", rdev: inode.data };
      case FILE_TYPE.fifo:
        return { type: "fifo" };
      default:
        return { type: "socket" };
    }
  }

  #regular(inode: StoredInode): LeafContent {
    const { size, xattrs } = inode;
    const metacopy = xattrs.find(({ name }) => name === XATTR.metacopy);
    const redirect = xattrs.find(({ name }) => name === XATTR.redirect);
    const external = (found: StoredXattr, digest: Uint8Array | undefined, verity: boolean) => {
      if (digest === undefined) throw imageError(found.offset, `malformed ${display(found.name)}`);
      if (inode.layout !== LAYOUT.chunkBased && size > 0) {
        throw imageError(inode.offset, "content both in the image and in an object");
      }
      return { type: "external", size, digest, verity } as const;
    };
    if (metacopy !== undefined && metacopy.value.length > 0) {
      return external(metacopy, parseMetacopy(metacopy.value), true);
    }
    if (redirect !== undefined) {
      return external(redirect, digestOfObjectPath(fromBytes(redirect.value)), false);
    }
    if (inode.layout === LAYOUT.chunkBased) return { type: "sparse", size };
    const data = this.#limited(inode, MAX_INLINE_V2, Number.POSITIVE_INFINITY, "inline file");
    return { type: "inline", data };
  }

  #limited(inode: StoredInode, maxV2: number, maxV1: number, what: string): Uint8Array {
    const max = this.#image.format === 2 ? maxV2 : maxV1;
    if (inode.size > max) {
      throw imageError(inode.offset, `${what} of ${inode.size} bytes, at most ${max}`);
    }
    return this.#image.content(inode);
  }
}

/** Still without xattrs. */
function bareStat({ mode, uid, gid, mtimeSec, mtimeNsec }: StoredInode): Stat {
  return { mode, uid, gid, mtimeSec, mtimeNsec, xattrs: NO_XATTRS };
}

/** Such a file, and no other, is written for a whiteout. */
function isEscapedWhiteout({ fileType, layout, size, xattrs }: StoredInode): boolean {
  return (
    fileType === FILE_TYPE.regular &&
    layout === LAYOUT.flatPlain &&
    size === 0 &&
    WHITEOUT_MARKERS.every((marker) => xattrs.some((xattr) => isMarker(xattr, marker)))
  );
}

function isMarker(xattr: StoredXattr, { name, value }: MarkerXattr): boolean {
  return xattr.name === name && fromBytes(xattr.value) === value;
}

/** Takes each marker off once: the same xattr once more is the file's own. */
function without(xattrs: readonly StoredXattr[], markers: readonly MarkerXattr[]): StoredXattr[] {
  const rest = [...xattrs];
  for (const marker of markers) {
    const at = rest.findIndex((xattr) => isMarker(xattr, marker));
    if (at >= 0) rest.splice(at, 1);
  }
  return rest;
}

/** The file's own xattrs, under the names that it has. */
function ownXattrs(stored: readonly StoredXattr[]): Xattrs {
  if (stored.length === 0) return NO_XATTRS;
  const xattrs = new Map<ByteString, Uint8Array>();
  for (const { name, value, offset } of stored) {
    const own = unescapeXattrName(name);
    if (own === undefined) continue;
    if (xattrs.has(own)) throw imageError(offset, `second xattr ${display(own)}`);
    xattrs.set(own, value);
  }
  return xattrs;
}
