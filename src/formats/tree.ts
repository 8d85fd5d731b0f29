/**
 * The filesystem tree that an image holds: what a container's layers add up to, what a dump file says,
 * what an EROFS image is written from and read back into. It stands among the formats because they are made of it.
 *
 * Plain data. Hard links are several directory entries that refer to the same `Leaf` object, so identity matters:
 * whoever copies a tree must copy each leaf once.
 */
import type { ByteString } from "./bytestring.ts";

/** Values by full names (`user.x`, `security.selinux`), in any order. Inodes share them: a change makes another one. */
export type Xattrs = ReadonlyMap<ByteString, Uint8Array>;

/** What most inodes have; an empty map for each would take as much as all the rest. */
export const NO_XATTRS: Xattrs = new Map();

/** What every inode carries. */
export interface Stat {
  /** The twelve permission bits (07777). The file type follows from the node. */
  mode: number;
  uid: number;
  gid: number;
  /** Seconds since the epoch, signed 64 bits. */
  mtimeSec: bigint;
  /** 0 .. 999,999,999 */
  mtimeNsec: number;
  xattrs: Xattrs;
}

export interface Directory {
  readonly type: "directory";
  stat: Stat;
  /** In any order: whoever needs one sorts (`sortedEntries`). */
  entries: Map<ByteString, Node>;
}

export type LeafContent =
  /** A regular file whose bytes are in the image. */
  | { readonly type: "inline"; readonly data: Uint8Array }
  /** A regular file whose bytes are an object; `verity: false` is a file that carries no digest. */
  | {
      readonly type: "external";
      readonly size: number;
      readonly digest: Uint8Array;
      readonly verity: boolean;
    }
  /** A regular file of zeros that has no object. */
  | { readonly type: "sparse"; readonly size: number }
  | { readonly type: "symlink"; readonly target: ByteString }
  /** `rdev` as in `st_rdev` (Linux encoding). */
  | { readonly type: "chardev"; readonly rdev: number }
  | { readonly type: "blockdev"; readonly rdev: number }
  | { readonly type: "fifo" }
  | { readonly type: "socket" };

export interface Leaf {
  readonly type: "leaf";
  stat: Stat;
  content: LeafContent;
}

export type Node = Directory | Leaf;

/** The root directory stands for the tree. */
export type Tree = Directory;

/** The names of a directory's entries, in byte order: what `sort` does with strings when it is told nothing. */
export function sortedNames(directory: Directory): ByteString[] {
  return [...directory.entries.keys()].sort();
}

/** Entries in the byte order of their names. */
export function sortedEntries({ entries }: Directory): [ByteString, Node][] {
  return [...entries].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
}

/** How many entries of the tree refer to each leaf: its `st_nlink`. */
export function countLinks(root: Directory): Map<Leaf, number> {
  const links = new Map<Leaf, number>();
  const pending: Directory[] = [root];
  for (let dir = pending.pop(); dir !== undefined; dir = pending.pop()) {
    for (const node of dir.entries.values()) {
      if (node.type === "directory") pending.push(node);
      else links.set(node, (links.get(node) ?? 0) + 1);
    }
  }
  return links;
}
