/** What a tree must be before an image is written from it. */
import { type ByteString, display } from "../bytestring.ts";
import { DIGEST_SIZE } from "../digest.ts";
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
 * Checks that an image of this format can hold the tree, and counts how many names each leaf has. Errors name the
 * path.
 */
export function checkTree(tree: Directory, format: ErofsFormat): Map<Leaf, number> {
  const links = new Map<Leaf, number>();
  const seen = new Set<Directory>([tree]);
  const digestSizes = new Set<number>();
  const xattrNames = new Set<ByteString>();
  const checkStat = (stat: Stat) => {
    checkNumbers(stat);
    checkXattrs(stat, format, xattrNames);
  };
  const pending = [{ directory: tree, path: "", depth: 1 }];
  at("/", () => checkStat(tree.stat));
  for (let item = pending.pop(); item !== undefined; item = pending.pop()) {
    const { directory, path, depth } = item;
    for (const [name, node] of directory.entries) {
      const child = `${path}/${name}`;
      const count = node.type === "leaf" ? (links.get(node) ?? 0) : 0;
      at(child, () => {
        checkName(name);
        if (count === 0) checkStat(node.stat);
        if (node.type === "directory") {
          if (seen.has(node)) throw new Error("a directory with two names");
          if (depth === MAX_DEPTH) throw new Error(`more than ${MAX_DEPTH} directories deep`);
        } else if (count === 0) {
          checkContent(node.content, format, digestSizes);
        } else if (isWhiteout(node.content)) {
          throw new Error("a whiteout with more than one name");
        }
      });
      if (node.type === "leaf") links.set(node, count + 1);
      else {
        seen.add(node);
        pending.push({ directory: node, path: child, depth: depth + 1 });
      }
    }
  }
  return links;
}

function at(path: string, check: () => void): void {
  try {
    check();
  } catch (error) {
    throw new Error(display(path as ByteString), { cause: error });
  }
}

function checkName(name: ByteString): void {
  if (name === "" || name === "." || name === ".." || /[/\0]/.test(name)) {
    throw new Error("not a file name");
  }
  if (name.length > MAX_NAME) throw new Error(`name of ${name.length} bytes, at most ${MAX_NAME}`);
}

function checkRange(value: number, max: number, what: string): void {
  if (!Number.isInteger(value) || value < 0 || value > max) {
    throw new Error(`${what} ${value}, expected 0 to ${max}`);
  }
}

function checkNumbers({ uid, gid, mtimeNsec }: Stat): void {
  checkRange(uid, MAX_U32, "uid");
  checkRange(gid, MAX_U32, "gid");
  checkRange(mtimeNsec, MAX_NSEC, "nanoseconds");
}

/** `known` are names that were found good. */
function checkXattrs({ xattrs }: Stat, format: ErofsFormat, known: Set<ByteString>): void {
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

function checkContent(content: LeafContent, format: ErofsFormat, digestSizes: Set<number>): void {
  switch (content.type) {
    case "inline":
      if (format === 2) checkRange(content.data.length, MAX_INLINE_V2, "inline file of size");
      return;
    case "external":
      checkRange(content.size, MAX_FILE, "file of size");
      if (!Object.values(DIGEST_SIZE).includes(content.digest.length)) {
        throw new Error(`digest of ${content.digest.length} bytes`);
      }
      digestSizes.add(content.digest.length);
      if (digestSizes.size > 1) throw new Error("digest of another hash than before");
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
