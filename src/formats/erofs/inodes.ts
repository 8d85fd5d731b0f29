/** From a tree to the list of an image's inodes: their order, their links, their xattrs as stored. */
import { type ByteString, fromBytes } from "../bytestring.ts";
import {
  type Directory,
  type Leaf,
  type LeafContent,
  type Stat,
  sortedEntries,
  sortedNames,
} from "../tree.ts";
import type { CInput, Home } from "./c-input.ts";
import { checkTree, isWhiteout } from "./check-tree.ts";
import { CONTENT_FILE_TYPE, type ErofsFormat, FILE_TYPE, type FileType } from "./layout.ts";
import { digestOfRedirect } from "./metacopy.ts";
import { isStub, stubs } from "./stubs.ts";
import { escapeXattrName, WHITEOUT_MARKERS, WHITEOUTS_MARKERS, XATTR } from "./xattr-names.ts";
import { type Xattr, XattrTable } from "./xattr-table.ts";

export interface Inode {
  readonly stat: Stat;
  fileType: FileType;
  /** What is stored as content. A whiteout's is an empty file. */
  content: LeafContent | { readonly type: "directory" };
  nlink: number;
  /** Position in the list. */
  index: number;
  /** Number in the image, once it is placed. */
  nid: number;
  readonly xattrs: Xattr[];
  /** Of a directory: all entries in byte order, with `.` and `..`. */
  entries: readonly Dirent[];
}

export interface Dirent {
  readonly name: ByteString;
  readonly inode: Inode;
}

const UNLISTED = -1;
const DOT = "." as ByteString;
const DOT_DOT = ".." as ByteString;
const EMPTY_FILE: LeafContent = { type: "inline", data: new Uint8Array(0) };
const NO_ENTRIES: readonly Dirent[] = [];
const NO_VERITY = "" as ByteString;

/** The inodes in image order, and the table of their xattrs. Errors name the path. */
export function collectInodes(
  tree: Directory,
  format: ErofsFormat,
  cInput?: CInput,
): { inodes: Inode[]; xattrs: XattrTable } {
  const collector = new Collector(tree, format, cInput);
  if (format === 2) collector.depthFirst(tree);
  else collector.breadthFirst(tree);
  return collector;
}

class Collector {
  readonly inodes: Inode[] = [];
  readonly xattrs: XattrTable;
  readonly #format: ErofsFormat;
  readonly #cInput: CInput | undefined;
  readonly #links: Map<Leaf, number>;
  /** Inodes of leaves that have more than one name. */
  readonly #linked = new Map<Leaf, Inode>();

  constructor(tree: Directory, format: ErofsFormat, cInput: CInput | undefined) {
    this.#links = checkTree(tree, format);
    this.#format = format;
    this.#cInput = cInput;
    this.xattrs = new XattrTable(format);
  }

  /** Format 2: a directory, then for each entry what is below it. A leaf is where its first name is. */
  depthFirst(directory: Directory, parent?: Inode): Inode {
    const inode = this.#list(this.#directory(directory));
    const entries = sortedEntries(directory).map(([name, node]) => ({
      name,
      inode: node.type === "directory" ? this.depthFirst(node, inode) : this.#listOnce(node),
    }));
    setEntries(inode, parent ?? inode, entries);
    return inode;
  }

  /**
   * Formats 0 and 1: directory by directory, level by level. A leaf with several names is listed with the directory
   * that holds the first of them in depth-first order, the order of dump files, which need not be the first here. What
   * the C tools read says itself which one it is.
   */
  breadthFirst(tree: Directory): void {
    const homes = this.#firstNames(tree);
    for (const [leaf, home] of this.#cInput?.homes ?? []) homes.set(leaf, home);
    const root = this.#list(this.#directory(tree));
    const queue = [{ directory: tree, inode: root, parent: root }];
    for (const { directory, inode, parent } of queue) {
      let hasWhiteouts = false;
      const entries: Dirent[] = [];
      const source = directory === tree ? withStubs(tree) : directory;
      for (const name of sortedNames(source)) {
        const node = source.entries.get(name)!;
        if (node.type === "directory") {
          const child = this.#list(this.#directory(node));
          queue.push({ directory: node, inode: child, parent: inode });
          entries.push({ name, inode: child });
          continue;
        }
        const home = homes.get(node);
        const isHome = home === undefined || (home.directory === directory && home.name === name);
        const child = isHome ? this.#listOnce(node) : this.#leaf(node);
        entries.push({ name, inode: child });
        if (isWhiteout(node.content) && !(directory === tree && this.#isStub(tree, name, node))) {
          this.#escapeWhiteout(child);
          hasWhiteouts = true;
        }
      }
      if (hasWhiteouts) this.#mark(inode, WHITEOUTS_MARKERS[this.#format]);
      setEntries(inode, parent, entries);
    }
    root.xattrs.push(this.xattrs.use(XATTR.opaque, "y" as ByteString));
    for (const { xattrs } of this.inodes) {
      if (!isSorted(xattrs)) xattrs.sort(XattrTable.compare);
    }
  }

  /** A whiteout that the tree has is taken for a stub if it looks like one; not so by the C tools. */
  #isStub(tree: Directory, name: ByteString, leaf: Leaf): boolean {
    if (this.#cInput !== undefined && tree.entries.has(name)) return false;
    return isStub(tree.stat, name, leaf);
  }

  /**
   * For each leaf with several names: the first one, depth first. That is the order of paths, if what divides names
   * comes before every byte of a name.
   */
  #firstNames(tree: Directory): Map<Leaf, Home> {
    const homes = new Map<Leaf, Home & { readonly path: string }>();
    if (this.#links.size === 0) return homes;
    const pending = [{ directory: tree, path: "" }];
    for (let item = pending.pop(); item !== undefined; item = pending.pop()) {
      const { directory } = item;
      for (const [name, node] of directory.entries) {
        if (node.type === "directory") {
          pending.push({ directory: node, path: `${item.path}${name}\0` });
        } else if (this.#links.has(node)) {
          const path = item.path + name;
          const known = homes.get(node);
          if (known === undefined || path < known.path) homes.set(node, { directory, name, path });
        }
      }
    }
    return homes;
  }

  #list(inode: Inode): Inode {
    inode.index = this.inodes.length;
    this.inodes.push(inode);
    return inode;
  }

  #listOnce(leaf: Leaf): Inode {
    const inode = this.#leaf(leaf);
    return inode.index === UNLISTED ? this.#list(inode) : inode;
  }

  #directory(directory: Directory): Inode {
    return this.#create(directory.stat, FILE_TYPE.directory, { type: "directory" });
  }

  #leaf(leaf: Leaf): Inode {
    const known = this.#linked.get(leaf);
    if (known !== undefined) return known;
    const content = this.#cInput === undefined ? leaf.content : contentInC(leaf.content);
    const redirect = this.#cInput?.redirects.get(leaf);
    const inode = this.#create(leaf.stat, CONTENT_FILE_TYPE[content.type], content, redirect);
    const names = this.#links.get(leaf) ?? 1; // stubs are not counted
    inode.nlink = this.#cInput?.links.get(leaf) ?? names;
    if (names > 1) this.#linked.set(leaf, inode);
    return inode;
  }

  #create(stat: Stat, fileType: FileType, content: Inode["content"], redirect?: ByteString): Inode {
    const xattrs = this.#overlayXattrs(content, redirect);
    if (stat.xattrs.size > 0) {
      for (const name of [...stat.xattrs.keys()].sort()) {
        const value = fromBytes(stat.xattrs.get(name)!);
        xattrs.push(this.xattrs.use(escapeXattrName(name), value));
      }
    }
    const entries = NO_ENTRIES;
    return { stat, fileType, content, nlink: 0, index: UNLISTED, nid: 0, xattrs, entries };
  }

  /** What tells overlayfs where a file's content is: the object of its digest, or what `redirect` says. */
  #overlayXattrs(content: Inode["content"], redirect: ByteString | undefined): Xattr[] {
    if (content.type === "sparse") return [this.xattrs.use(XATTR.metacopy, NO_VERITY)];
    if (content.type !== "external") return [];
    const object = this.xattrs.forObject(content.digest);
    const demand = content.verity
      ? used(object.metacopy)
      : this.xattrs.use(XATTR.metacopy, NO_VERITY);
    // as they are written, arrays have room for no more: one that grows would have it for sixteen
    if (redirect === undefined) return [demand, used(object.redirect)];
    if (redirect === "") return [demand];
    const other = digestOfRedirect(redirect);
    if (other !== undefined) return [demand, used(this.xattrs.forObject(other).redirect)];
    return [demand, this.xattrs.use(XATTR.redirect, redirect)];
  }

  #escapeWhiteout(inode: Inode): void {
    inode.fileType = FILE_TYPE.regular;
    inode.content = EMPTY_FILE;
    this.#mark(inode, WHITEOUT_MARKERS);
  }

  #mark(inode: Inode, markers: readonly { name: ByteString; value: ByteString }[]): void {
    for (const { name, value } of markers) {
      // the C tools have one xattr of a name, composefs-rs adds a second one
      const own = inode.xattrs.findIndex((xattr) => xattr.name.name === name);
      if (this.#cInput !== undefined && own >= 0) inode.xattrs.splice(own, 1)[0]!.uses--;
      inode.xattrs.push(this.xattrs.use(name, value));
    }
  }
}

/** Sets a directory's entries, which are in byte order, and adds `.` and `..`. */
function setEntries(inode: Inode, parent: Inode, entries: Dirent[]): void {
  for (const entry of [
    { name: DOT, inode },
    { name: DOT_DOT, inode: parent },
  ]) {
    const behind = entries.findIndex(({ name }) => name > entry.name);
    entries.splice(behind < 0 ? entries.length : behind, 0, entry);
  }
  inode.entries = entries;
  inode.nlink = 0;
  for (const entry of entries) if (entry.inode.fileType === FILE_TYPE.directory) inode.nlink++;
}

function used(xattr: Xattr): Xattr {
  xattr.uses++;
  return xattr;
}

function isSorted(xattrs: readonly Xattr[]): boolean {
  for (let i = 1; i < xattrs.length; i++) {
    if (XattrTable.compare(xattrs[i - 1]!, xattrs[i]!) > 0) return false;
  }
  return true;
}

function withStubs(tree: Directory): Directory {
  const missing = stubs(tree.stat).filter(([name]) => !tree.entries.has(name));
  return { ...tree, entries: new Map([...tree.entries, ...missing]) };
}

/** The C tools write a file without content as an empty one, whether it has an object or not. */
function contentInC(content: LeafContent): LeafContent {
  return content.type === "external" && content.size === 0 ? EMPTY_FILE : content;
}
