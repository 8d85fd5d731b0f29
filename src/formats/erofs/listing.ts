/** What an image holds, as the C project's composefs-info prints it. */
import { type ByteString, fromBytes } from "../bytestring.ts";
import { toHex } from "../digest.ts";
import { escapeField, escapeOptional, S_IFDIR, TYPE_BITS } from "../dumpfile-fields.ts";
import { type Leaf, type LeafContent, type Node, sortedEntries } from "../tree.ts";
import type { StoredInode } from "./image.ts";
import { readErofsInodes } from "./reader.ts";
import type { StoredXattr } from "./stored-xattrs.ts";
import { unescapeXattrName, XATTR } from "./xattr-names.ts";

/** An entry: the root first, with the path `/`; then each directory before what is in it, in byte order. */
interface Entry {
  readonly path: ByteString;
  readonly node: Node;
  readonly inode: StoredInode;
  /** The path of the same leaf that came before. */
  readonly first: ByteString | undefined;
}

/** Names of entries of the root, to which a listing is limited; none is no limit. */
export type Filter = readonly ByteString[];

function* entries(image: Uint8Array, filter: Filter): Generator<Entry> {
  const { tree, inodes } = readErofsInodes(image);
  const first = new Map<Leaf, ByteString>();
  const pending: [ByteString, Node][] = [["/" as ByteString, tree]];
  for (let item = pending.pop(); item !== undefined; item = pending.pop()) {
    const [path, node] = item;
    const before = node.type === "leaf" ? first.get(node) : undefined;
    yield { path, node, inode: inodes.get(node)!, first: before };
    if (node.type === "leaf") {
      if (before === undefined) first.set(node, path);
      continue;
    }
    const prefix = node === tree ? "/" : `${path}/`;
    for (const [name, child] of sortedEntries(node).reverse()) {
      if (node === tree && filter.length > 0 && !filter.includes(name)) continue;
      pending.push([(prefix + name) as ByteString, child]);
    }
  }
}

/**
 * A line for each entry but the root: its path, escaped but for blanks, and where the content is. A directory is `PATH/<TAB>`, a file with an object
 * `PATH<TAB>@ xx/rest`, a symlink `PATH<TAB>-> target`; all others, and further names of a file, are only the path.
 */
export function* listLines(image: Uint8Array, filter: Filter = []): Generator<string> {
  for (const { path, node, inode, first } of entries(image, filter)) {
    if (path === "/") continue;
    const escaped = path
      .split(" ")
      .map((text) => escapeField(text as ByteString, "plain"))
      .join(" ");
    if (node.type === "directory") yield `${escaped}/\t\n`;
    else if (first !== undefined) yield `${escaped}\n`;
    else yield `${escaped}${contentOf(node, inode)}\n`;
  }
}

function contentOf({ content }: Leaf, inode: StoredInode): string {
  if (content.type === "symlink") return `\t-> ${escapeField(content.target, "plain")}`;
  const backing = backingPath(inode);
  return backing === undefined ? "" : `\t@ ${escapeField(backing, "plain")}`;
}

/** The paths of all objects, sorted, each once. */
export function backingPaths(image: Uint8Array, filter: Filter = []): ByteString[] {
  const paths = new Set<ByteString>();
  for (const { node, inode } of entries(image, filter)) {
    const path = node.type === "leaf" ? backingPath(inode) : undefined;
    if (path !== undefined) paths.add(path);
  }
  return [...paths].sort();
}

/** Where overlayfs looks for the content of a file, below the directory of objects. */
function backingPath({ xattrs }: StoredInode): ByteString | undefined {
  const redirect = xattrs.find(({ name }) => name === XATTR.redirect);
  if (redirect === undefined) return undefined;
  return fromBytes(redirect.value).replace(/^\//, "") as ByteString;
}

/**
 * The image as a dump file, with what is only in images: directories have their size there, further names of a file all
 * that the file has, xattrs come in stored order, shared ones last, and the marks of format 1 on directories with whiteouts are shown.
 */
export function* dumpLinesC(image: Uint8Array, filter: Filter = []): Generator<string> {
  for (const { path, node, inode, first } of entries(image, filter)) {
    const { mode, uid, gid, mtimeSec, mtimeNsec } = node.stat;
    const content: LeafContent | undefined = node.type === "leaf" ? node.content : undefined;
    const type = content === undefined ? S_IFDIR : TYPE_BITS[content.type];
    const isDevice = content?.type === "chardev" || content?.type === "blockdev";
    const target = content?.type === "symlink" ? content.target : backingPath(inode);
    const data = content?.type === "inline" ? fromBytes(content.data) : NOTHING;
    const hasDigest = content?.type === "external" && content.verity;
    const fields = [
      escapeField(path, "plain"),
      inode.size,
      `${first === undefined ? "" : "@"}${(type | mode).toString(8)}`,
      inode.nlink,
      uid,
      gid,
      isDevice ? content.rdev : 0,
      `${mtimeSec}.${mtimeNsec}`,
      escapeOptional(first ?? target ?? NOTHING),
      escapeOptional(data),
      hasDigest ? toHex(content.digest) : "-",
      ...shownXattrs(inode),
    ];
    yield `${fields.join(" ")}\n`;
  }
}

const NOTHING = "" as ByteString;
const MARKS: readonly ByteString[] = ["whiteout", "whiteouts"].flatMap((mark) => [
  `trusted.overlay.${mark}` as ByteString,
  `user.overlay.${mark}` as ByteString,
]);

function shownXattrs({ xattrs, offset, tailAt }: StoredInode): string[] {
  const isLocal = (xattr: StoredXattr) => xattr.offset > offset && xattr.offset < tailAt;
  const local = xattrs.filter(isLocal);
  const shared = xattrs.filter((xattr) => !isLocal(xattr));
  return [...local, ...shared].flatMap(({ name, value }) => {
    const own = unescapeXattrName(name);
    if (own === undefined || MARKS.includes(own)) return [];
    return [`${escapeField(own, "escaped")}=${escapeField(fromBytes(value), "escaped")}`];
  });
}
