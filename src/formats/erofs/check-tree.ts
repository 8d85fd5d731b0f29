/** What a tree must be before an image is written from it. */
import { type ByteString, display } from "../bytestring.ts";
import { hashOfDigest } from "../digest.ts";
import type { Directory, Leaf, LeafContent, Stat } from "../tree.ts";
import {
  type ErofsFormat,
  MAX_DEPTH,
  MAX_FILE,
  MAX_INLINE_V2,
  MAX_NAME,
  MAX_SYMLINK,
  MAX_SYMLINK_V2,
} from "./layout.ts";
import { escapeXattrName, splitXattrName } from "./xattr-names.ts";

const MAX_U32 = 0xffffffff;
const MAX_NSEC = 999_999_999;
/** What the sizes in a stored xattr can say. */
const MAX_XATTR_SUFFIX = 0xff;
const MAX_XATTR_VALUE = 0xffff;

export function isWhiteout(content: LeafContent): boolean {
  return content.type === "chardev" && content.rdev === 0;
}

/**
 * Checks that an image of this format can hold the tree, and counts the names of leaves that have several. Errors name
 * the path.
 */
export function checkTree(tree: Directory, format: ErofsFormat): Map<Leaf, number> {
  const known: Known = { leaves: new Set(), directories: new Set([tree]), xattrs: new Set() };
  const links = new Map<Leaf, number>();
  const pending = [{ directory: tree, path: "", depth: 1 }];
  let path = "";
  let entry: ByteString | undefined;
  try {
    checkStat(tree.stat, format, known);
    for (let item = pending.pop(); item !== undefined; item = pending.pop()) {
      path = item.path;
      for (const [name, node] of item.directory.entries) {
        entry = name;
        checkName(name);
        if (node.type === "directory") {
          checkDirectory(node, item.depth, format, known);
          pending.push({ directory: node, path: `${path}/${name}`, depth: item.depth + 1 });
        } else if (!known.leaves.has(node)) {
          known.leaves.add(node);
          checkStat(node.stat, format, known);
          checkContent(node.content, format, known);
        } else {
          if (isWhiteout(node.content)) throw new Error("a whiteout with more than one name");
          links.set(node, (links.get(node) ?? 1) + 1);
        }
      }
    }
  } catch (error) {
    throw new Error(display(`${path}/${entry ?? ""}` as ByteString), { cause: error });
  }
  return links;
}

/** What was found good. */
interface Known {
  readonly leaves: Set<Leaf>;
  readonly directories: Set<Directory>;
  /** Their names. */
  readonly xattrs: Set<ByteString>;
  /** The size of the first digest. */
  digestSize?: number;
}

function checkName(name: ByteString): void {
  if (name === "" || name === "." || name === ".." || name.includes("/") || name.includes("\0")) {
    throw new Error("not a file name");
  }
  if (name.length > MAX_NAME) throw new Error(`name of ${name.length} bytes, at most ${MAX_NAME}`);
}

function checkRange(value: number, max: number, what: string): void {
  if (!Number.isInteger(value) || value < 0 || value > max) {
    throw new Error(`${what} ${value}, expected 0 to ${max}`);
  }
}

function checkDirectory(
  directory: Directory,
  depth: number,
  format: ErofsFormat,
  known: Known,
): void {
  checkStat(directory.stat, format, known);
  if (known.directories.has(directory)) throw new Error("a directory with two names");
  if (depth === MAX_DEPTH) throw new Error(`more than ${MAX_DEPTH} directories deep`);
  known.directories.add(directory);
}

function checkStat({ uid, gid, mtimeNsec, xattrs }: Stat, format: ErofsFormat, known: Known): void {
  checkRange(uid, MAX_U32, "uid");
  checkRange(gid, MAX_U32, "gid");
  checkRange(mtimeNsec, MAX_NSEC, "nanoseconds");
  if (xattrs.size > 0) checkXattrs(xattrs, format, known.xattrs);
}

/** `known` are names that were found good. */
function checkXattrs(xattrs: Stat["xattrs"], format: ErofsFormat, known: Set<ByteString>): void {
  for (const [name, value] of xattrs) {
    if (value.length > MAX_XATTR_VALUE) {
      throw new Error(
        `xattr ${display(name)} of ${value.length} bytes, at most ${MAX_XATTR_VALUE}`,
      );
    }
    if (known.has(name)) continue;
    if (name === "" || name.includes("\0")) throw new Error("not the name of an xattr");
    const { suffix } = splitXattrName(escapeXattrName(name), format);
    if (suffix.length > MAX_XATTR_SUFFIX) {
      throw new Error(`name of an xattr of ${name.length} bytes, too long to store`);
    }
    known.add(name);
  }
}

function checkContent(content: LeafContent, format: ErofsFormat, known: Known): void {
  switch (content.type) {
    case "inline":
      if (format === 2) checkRange(content.data.length, MAX_INLINE_V2, "inline file of size");
      return;
    case "external":
      checkRange(content.size, MAX_FILE, "file of size");
      if (hashOfDigest(content.digest) === undefined) {
        throw new Error(`digest of ${content.digest.length} bytes`);
      }
      known.digestSize ??= content.digest.length;
      if (known.digestSize !== content.digest.length) {
        throw new Error("digest of another hash than before");
      }
      return;
    case "sparse":
      checkRange(content.size, MAX_FILE, "file of size");
      return;
    case "symlink":
      if (content.target === "" || content.target.includes("\0")) {
        throw new Error("not the target of a symlink");
      }
      checkRange(
        content.target.length,
        format === 2 ? MAX_SYMLINK_V2 : MAX_SYMLINK,
        "symlink to a target of length",
      );
      return;
    case "chardev":
    case "blockdev":
      checkRange(content.rdev, MAX_U32, "device number");
      return;
  }
}
