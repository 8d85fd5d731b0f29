/** From a tree to the list of an image's inodes: their order, their links, their xattrs as stored. */
import { type ByteString, fromBytes } from "../bytestring.ts";
import { objectPath, toHex } from "../digest.ts";
import {
  type Directory,
  type Leaf,
  type LeafContent,
  type Node,
  type Stat,
  sortedEntries,
} from "../tree.ts";
import type { CInput, Home } from "./c-input.ts";
import { checkTree, isWhiteout } from "./check-tree.ts";
import { CONTENT_FILE_TYPE, type ErofsFormat, FILE_TYPE, type FileType } from "./layout.ts";
import { metacopy } from "./metacopy.ts";
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
  readonly xattrs: Xattr[];
  /** Of a directory: all entries in byte order, with `.` and `..`. */
  entries: Dirent[];
}

export interface Dirent {
  readonly name: ByteString;
  readonly inode: Inode;
}

const UNLISTED = -1;
const DOT = "." as ByteString;
const DOT_DOT = ".." as ByteString;
const EMPTY_FILE: LeafContent = { type: "inline", data: new Uint8Array(0) };
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
    const homes = new Map([...this.#firstNames(tree), ...(this.#cInput?.homes ?? [])]);
    const root = this.#list(this.#directory(tree));
    const queue = [{ directory: tree, inode: root, parent: root }];
    for (const { directory, inode, parent } of queue) {
      let hasWhiteouts = false;
      const entries: Dirent[] = [];
      for (const [name, node] of directory === tree ? withStubs(tree) : sortedEntries(directory)) {
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
    for (const { xattrs } of this.inodes) xattrs.sort(XattrTable.compare);
  }

  /** A whiteout that the tree has is taken for a stub if it looks like one; not so by the C tools. */
  #isStub(tree: Directory, name: ByteString, leaf: Leaf): boolean {
    if (this.#cInput !== undefined && tree.entries.has(name)) return false;
    return isStub(tree.stat, name, leaf);
  }

  /** For each leaf with several names: the first one, depth first. */
  #firstNames(tree: Directory): Map<Leaf, Home> {
    const homes = new Map<Leaf, Home>();
    const visit = (directory: Directory) => {
      for (const [name, node] of sortedEntries(directory)) {
        if (node.type === "directory") visit(node);
        else if (this.#links.get(node)! > 1 && !homes.has(node)) {
          homes.set(node, { directory, name });
        }
      }
    };
    if ([...this.#links.values()].some((count) => count > 1)) visit(tree);
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
    const stored = overlayXattrs(content, redirect);
    const xattrs = stored.map(([name, value]) => this.xattrs.use(name, value));
    for (const [name, value] of [...stat.xattrs].sort(([a], [b]) => (a < b ? -1 : 1))) {
      xattrs.push(this.xattrs.use(escapeXattrName(name), fromBytes(value)));
    }
    return { stat, fileType, content, nlink: 0, index: UNLISTED, xattrs, entries: [] };
  }

  #escapeWhiteout(inode: Inode): void {
    inode.fileType = FILE_TYPE.regular;
    inode.content = EMPTY_FILE;
    this.#mark(inode, WHITEOUT_MARKERS);
  }

  #mark(inode: Inode, markers: readonly { name: ByteString; value: ByteString }[]): void {
    for (const { name, value } of markers) {
      // the C tools have one xattr of a name, composefs-rs adds a second one
      const own = inode.xattrs.findIndex((xattr) => xattr.name === name);
      if (this.#cInput !== undefined && own >= 0) inode.xattrs.splice(own, 1)[0]!.uses--;
      inode.xattrs.push(this.xattrs.use(name, value));
    }
  }
}

function setEntries(inode: Inode, parent: Inode, entries: Dirent[]): void {
  entries.push({ name: DOT, inode }, { name: DOT_DOT, inode: parent });
  entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  inode.entries = entries;
  inode.nlink = entries.filter((entry) => entry.inode.fileType === FILE_TYPE.directory).length;
}

function withStubs(tree: Directory): [ByteString, Node][] {
  const missing = stubs(tree.stat).filter(([name]) => !tree.entries.has(name));
  return sortedEntries({ ...tree, entries: new Map([...tree.entries, ...missing]) });
}

/** The C tools write a file without content as an empty one, whether it has an object or not. */
function contentInC(content: LeafContent): LeafContent {
  return content.type === "external" && content.size === 0 ? EMPTY_FILE : content;
}

/** What tells overlayfs where a file's content is: the object of its digest, or what `redirect` says. */
function overlayXattrs(
  content: Inode["content"],
  redirect: ByteString | undefined,
): [ByteString, ByteString][] {
  if (content.type === "sparse") return [[XATTR.metacopy, NO_VERITY]];
  if (content.type !== "external") return [];
  const { digest, verity } = content;
  const target = redirect ?? (`/${objectPath(toHex(digest))}` as ByteString);
  const stored: [ByteString, ByteString][] = [
    [XATTR.metacopy, verity ? metacopy(digest) : NO_VERITY],
  ];
  if (target !== "") stored.push([XATTR.redirect, target]);
  return stored;
}
