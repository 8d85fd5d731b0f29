/** Where everything in an image goes: how each inode is stored, and at which offset. */
import type { LeafContent } from "../tree.ts";
import { type PackedDirectory, packDirectory } from "./directory.ts";
import type { Dirent, Inode } from "./inodes.ts";
import {
  alignUp,
  BLOCK_SIZE,
  CHUNK_ENTRY,
  chunkBits,
  chunkCount,
  type ErofsFormat,
  INODE_COMPACT,
  INODE_EXTENDED,
  INODES_AT,
  LAYOUT,
  type Layout,
  SLOT_SIZE,
} from "./layout.ts";
import { type Xattr, type XattrTable, xattrAreaBytes } from "./xattr-table.ts";

export interface PlacedInode {
  readonly inode: Inode;
  readonly compact: boolean;
  /** Offsets in the image; `offset` is a multiple of 32. */
  readonly offset: number;
  readonly xattrsAt: number;
  readonly tailAt: number;
  readonly tailBytes: number;
  readonly xattrBytes: number;
  /** `i_size` */
  readonly size: number;
  readonly layout: Layout;
  /** Blocks of content outside the inode, and where they begin. */
  readonly blockCount: number;
  blocksAt: number;
  /** A chunk index that did not fit behind its inode. */
  readonly chunksMoved: boolean;
  readonly directory: PackedDirectory<Dirent> | undefined;
}

export interface Placement {
  /** In the order of the list. */
  readonly inodes: readonly PlacedInode[];
  readonly buildTime: Timestamp;
  readonly shared: readonly Xattr[];
  readonly holdsAcl: boolean;
  /** Where the table of shared xattrs begins: the end of the inodes. */
  readonly sharedAt: number;
  readonly imageBytes: number;
}

export interface Timestamp {
  readonly sec: bigint;
  readonly nsec: number;
}

/** How an inode's content is stored, before its place is known. */
interface Body {
  readonly size: number;
  readonly layout: Layout;
  readonly tailBytes: number;
  readonly blockCount: number;
  readonly chunksMoved: boolean;
  readonly directory: PackedDirectory<Dirent> | undefined;
}

const MAX_U16 = 0xffff;
const MAX_U32 = 0xffffffff;
/** A last piece of a file that is larger than this becomes a block. */
const MAX_FILE_TAIL = BLOCK_SIZE / 2;

/** Decides how each inode is stored, and where. `signedTimes` is for the C tools: before 1970 is before 1970. */
export function place(
  inodes: readonly Inode[],
  xattrs: XattrTable,
  format: ErofsFormat,
  signedTimes: boolean,
): Placement {
  const shared = xattrs.share();
  const buildTime = format === 2 ? { sec: 0n, nsec: 0 } : earliest(inodes, signedTimes);
  const placed: PlacedInode[] = [];
  let end = INODES_AT;
  for (const inode of inodes) {
    const xattrBytes = xattrAreaBytes(inode.xattrs);
    const initial =
      inode.content.type === "directory" ? directoryBody(inode) : leafBody(inode.content, format);
    const compact = format !== 2 && isCompact(inode, initial.size, buildTime);
    const headBytes = (compact ? INODE_COMPACT : INODE_EXTENDED).bytes + xattrBytes;
    const body = format === 2 ? initial : promote(inode, initial, headBytes, xattrBytes);
    const start = alignUp(end, SLOT_SIZE);
    const offset =
      format === 2
        ? placeV2(start, headBytes, body)
        : placeV1(start, headBytes, body, inode.content.type);
    const tailAt = offset + headBytes;
    end = tailAt + body.tailBytes;
    inode.nid = offset / SLOT_SIZE;
    placed.push({
      inode,
      compact,
      offset,
      xattrsAt: tailAt - xattrBytes,
      tailAt,
      tailBytes: body.tailBytes,
      xattrBytes,
      size: body.size,
      layout: body.layout,
      blockCount: body.blockCount,
      blocksAt: 0,
      chunksMoved: body.chunksMoved,
      directory: body.directory,
    });
  }

  const sharedAt = alignUp(end, SLOT_SIZE);
  const sharedBytes = shared.reduce((sum, { bytes }) => sum + bytes, 0);
  let blocksAt = alignUp(sharedAt + sharedBytes, BLOCK_SIZE);
  for (const inode of placed) {
    inode.blocksAt = blocksAt;
    blocksAt += inode.blockCount * BLOCK_SIZE;
  }
  const { holdsAcl } = xattrs;
  return { inodes: placed, buildTime, shared, holdsAcl, sharedAt, imageBytes: blocksAt };
}

/** The least modification time, where seconds without a sign are compared as the numbers that are stored. */
function earliest(inodes: readonly Inode[], signed: boolean): Timestamp {
  let least: Timestamp | undefined;
  let leastSec = 0n;
  for (const { stat } of inodes) {
    const sec = signed ? stat.mtimeSec : BigInt.asUintN(64, stat.mtimeSec);
    if (
      least === undefined ||
      sec < leastSec ||
      (sec === leastSec && stat.mtimeNsec < least.nsec)
    ) {
      least = { sec: stat.mtimeSec, nsec: stat.mtimeNsec };
      leastSec = sec;
    }
  }
  return least ?? { sec: 0n, nsec: 0 };
}

function isCompact({ stat, nlink }: Inode, size: number, buildTime: Timestamp): boolean {
  return (
    stat.mtimeNsec === buildTime.nsec &&
    stat.mtimeSec === buildTime.sec &&
    nlink <= MAX_U16 &&
    stat.uid <= MAX_U16 &&
    stat.gid <= MAX_U16 &&
    size <= MAX_U32
  );
}

function directoryBody(inode: Inode): Body {
  const directory = packDirectory(inode.entries);
  const { blocks, tailBytes } = directory;
  return {
    size: blocks.length * BLOCK_SIZE + tailBytes,
    layout: tailBytes > 0 ? LAYOUT.flatInline : LAYOUT.flatPlain,
    tailBytes,
    blockCount: blocks.length,
    chunksMoved: false,
    directory,
  };
}

function leafBody(content: LeafContent, format: ErofsFormat): Body {
  switch (content.type) {
    case "inline":
      return fileBody(content.data.length, format);
    case "external":
    case "sparse":
      return body(content.size, LAYOUT.chunkBased, chunkIndexBytes(content, format));
    case "symlink":
      return body(content.target.length, LAYOUT.flatInline, content.target.length);
    default:
      return body(0, LAYOUT.flatPlain, 0);
  }
}

function body(size: number, layout: Layout, tailBytes: number, blockCount = 0): Body {
  return { size, layout, tailBytes, blockCount, chunksMoved: false, directory: undefined };
}

function fileBody(size: number, format: ErofsFormat): Body {
  let blockCount = format === 2 ? 0 : Math.floor(size / BLOCK_SIZE);
  let tailBytes = size - blockCount * BLOCK_SIZE;
  if (format !== 2 && tailBytes > MAX_FILE_TAIL) {
    blockCount++;
    tailBytes = 0;
  }
  return body(size, tailBytes > 0 ? LAYOUT.flatInline : LAYOUT.flatPlain, tailBytes, blockCount);
}

function chunkIndexBytes(
  content: Extract<LeafContent, { type: "external" | "sparse" }>,
  format: ErofsFormat,
): number {
  if (format === 2) return content.type === "external" && content.verity ? CHUNK_ENTRY : 0;
  return CHUNK_ENTRY * chunkCount(content.size, chunkBits(content.size));
}

/** Formats 0 and 1: a tail that cannot stand behind its inode moves to a block. */
function promote(inode: Inode, body: Body, headBytes: number, xattrBytes: number): Body {
  const { type } = inode.content;
  if (type === "symlink" && headBytes + body.tailBytes >= BLOCK_SIZE) {
    return { ...body, layout: LAYOUT.flatPlain, tailBytes: 0, blockCount: 1 };
  }
  const isChunked = body.layout === LAYOUT.chunkBased;
  if (isChunked && body.tailBytes > 0 && body.tailBytes + (xattrBytes % SLOT_SIZE) > BLOCK_SIZE) {
    return { ...body, tailBytes: 0, blockCount: 1, chunksMoved: true };
  }
  return body;
}

/** Inline content must not cross into the next block. A symlink does not even share its inode's with the next one. */
function placeV1(
  start: number,
  headBytes: number,
  body: Body,
  type: Inode["content"]["type"],
): number {
  if (type === "symlink") {
    const end = start + headBytes + body.size - 1;
    return sameBlock(start, end) ? start : alignUp(start, BLOCK_SIZE);
  }
  if (body.chunksMoved) return alignUp(start, BLOCK_SIZE);
  const tailAt = start + headBytes;
  const room = alignUp(tailAt, BLOCK_SIZE) - tailAt;
  return room > 0 && room < body.tailBytes ? start + alignUp(room, SLOT_SIZE) : start;
}

/** As above, but the move is such that the metadata's end comes to lie in the next block, and is made too early by one. */
function placeV2(start: number, headBytes: number, body: Body): number {
  if (body.layout !== LAYOUT.flatInline) return start;
  const metadataEnd = start + headBytes - 1;
  const tailEnd = start + headBytes + (body.size % BLOCK_SIZE);
  if (sameBlock(metadataEnd, tailEnd)) return start;
  return alignUp(start + BLOCK_SIZE - (metadataEnd % BLOCK_SIZE), SLOT_SIZE);
}

function sameBlock(a: number, b: number): boolean {
  return Math.floor(a / BLOCK_SIZE) === Math.floor(b / BLOCK_SIZE);
}
