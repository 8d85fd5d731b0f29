/** Goes through an image's directories and checks that they are a tree, as strictly as a repository needs it. */
import { type ByteString, display } from "../bytestring.ts";
import type { ReadDirent } from "./directory.ts";
import { type ErofsImage, imageError, type StoredInode } from "./image.ts";
import { BLOCK_SIZE, FILE_TYPE, LAYOUT, MAX_DEPTH } from "./layout.ts";
import { STUB_NAMES } from "./stubs.ts";
import { WHITEOUT_MARKERS } from "./xattr-names.ts";

/** An entry of a directory, and what it refers to. */
export interface Visit {
  /** The directory; `undefined` for the root, which has no entry. */
  readonly parent: StoredInode | undefined;
  readonly name: ByteString;
  readonly inode: StoredInode;
  /** Whether this is the inode's first entry. */
  readonly first: boolean;
}

const DOT = "." as ByteString;
const DOT_DOT = ".." as ByteString;

interface Counted {
  readonly inode: StoredInode;
  links: number;
}

/**
 * Yields the root, then every entry but `.` and `..`; a directory comes before its entries. What is wrong with the
 * structure is an error that names the offset; link counts are checked at the end.
 */
export function* walk(image: ErofsImage): Generator<Visit> {
  const root = image.inode(image.rootNid);
  if (root.fileType !== FILE_TYPE.directory) {
    throw imageError(root.offset, "the root is not a directory");
  }
  checkInode(image, root, true);
  yield { parent: undefined, name: "" as ByteString, inode: root, first: true };

  const directories = new Set([root.nid]);
  const leaves = new Map<number, Counted>();
  const pending = [{ inode: root, parent: root, depth: 1 }];
  for (let item = pending.pop(); item !== undefined; item = pending.pop()) {
    const { inode: directory, parent, depth } = item;
    const entries = image.entries(directory);
    checkDots(directory, parent, entries);
    if (directory === root && image.format !== 2) checkStubs(root, entries);
    let links = 2;
    for (const entry of entries) {
      const { name, nid } = entry;
      if (name === DOT || name === DOT_DOT) continue;
      if (directories.has(nid)) throw imageError(entry.offset, "a directory with two names");
      const known = leaves.get(nid);
      const inode = known?.inode ?? image.inode(nid);
      if (inode.fileType.dirent !== entry.fileType) {
        throw imageError(
          entry.offset,
          `file type ${entry.fileType}, the inode's is ${inode.fileType.dirent}`,
        );
      }
      if (known === undefined) checkInode(image, inode, directory === root);
      yield { parent: directory, name, inode, first: known === undefined };
      if (known !== undefined) known.links++;
      else if (inode.fileType !== FILE_TYPE.directory) leaves.set(nid, { inode, links: 1 });
      else {
        if (depth === MAX_DEPTH) {
          throw imageError(entry.offset, `more than ${MAX_DEPTH} directories deep`);
        }
        directories.add(nid);
        links++;
        pending.push({ inode, parent: directory, depth: depth + 1 });
      }
    }
    checkLinks({ inode: directory, links });
  }
  for (const leaf of leaves.values()) checkLinks(leaf);
}

function checkDots(
  directory: StoredInode,
  parent: StoredInode,
  entries: readonly ReadDirent[],
): void {
  for (const [name, target] of [
    [DOT, directory],
    [DOT_DOT, parent],
  ] as const) {
    const entry = entries.find((candidate) => candidate.name === name);
    if (entry === undefined) throw imageError(directory.offset, `directory without "${name}"`);
    if (entry.nid !== target.nid || entry.fileType !== FILE_TYPE.directory.dirent) {
      throw imageError(
        entry.offset,
        `"${name}" refers to inode ${entry.nid}, expected ${target.nid}`,
      );
    }
  }
}

/** Without them, the directories of objects would show through in the root. */
function checkStubs(root: StoredInode, entries: readonly ReadDirent[]): void {
  const names = new Set(entries.map(({ name }) => name));
  const missing = STUB_NAMES.find((name) => !names.has(name));
  if (missing !== undefined) {
    throw imageError(root.offset, `no entry "${display(missing)}" in the root to hide objects`);
  }
}

function checkLinks({ inode, links }: Counted): void {
  if (inode.nlink !== links) {
    throw imageError(inode.offset, `link count ${inode.nlink}, there are ${links}`);
  }
}

/** What a format does not allow. */
function checkInode(image: ErofsImage, inode: StoredInode, inRoot: boolean): void {
  if (inode.layout === LAYOUT.chunkBased) {
    if (inode.fileType !== FILE_TYPE.regular) {
      throw imageError(inode.offset, "content in chunks, but not a regular file");
    }
    image.checkChunks(inode);
  }
  if (image.format === 2) {
    const marker = WHITEOUT_MARKERS[0]!;
    const found = inode.xattrs.find(({ name }) => name === marker.name);
    if (found !== undefined && inode.fileType === FILE_TYPE.regular) {
      throw imageError(found.offset, "a whiteout as formats 0 and 1 have it");
    }
    return;
  }
  if (inode.fileType === FILE_TYPE.chardev && inode.data === 0 && !inRoot) {
    throw imageError(inode.offset, "a whiteout outside the root that is not escaped");
  }
  // kernels before 6.12 refuse these
  const isFastSymlink = inode.fileType === FILE_TYPE.symlink && inode.layout === LAYOUT.flatInline;
  const end = (inode.offset % BLOCK_SIZE) + inode.tailAt - inode.offset + inode.size;
  if (isFastSymlink && end > BLOCK_SIZE) {
    throw imageError(inode.offset, "symlink reaches into the next block");
  }
}
