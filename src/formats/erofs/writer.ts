/**
 * Writes EROFS images of composefs, byte for byte as composefs-rs does: the digest of an image is its name.
 */
import type { ByteString } from "../bytestring.ts";
import type { Tree } from "../tree.ts";
import type { CInput } from "./c-input.ts";
import { writeDirents } from "./directory.ts";
import { collectInodes } from "./inodes.ts";
import {
  BLOCK_BITS,
  BLOCK_SIZE,
  CHUNK_FORMAT_V2,
  COMPOSEFS_HEADER,
  COMPOSEFS_MAGIC,
  chunkBits,
  EROFS_MAGIC,
  type ErofsFormat,
  FEATURE_COMPAT_MTIME,
  FEATURE_COMPAT_XATTR_FILTER,
  FLAG_HAS_ACL,
  HEADER_VERSION,
  INODE_COMPACT,
  INODE_EXTENDED,
  INODE_IS_EXTENDED,
  MAX_IMAGE,
  SHARED_REFERENCE,
  SUPERBLOCK,
  XATTR_ALIGN,
  XATTR_ENTRY,
  XATTR_HEADER,
} from "./layout.ts";
import { type PlacedInode, type Placement, place } from "./placement.ts";
import { type Xattr, xattrCount } from "./xattr-table.ts";

export interface WriteOptions {
  readonly format: ErofsFormat;
  /** Writes what C's mkcomposefs writes where it differs from composefs-rs, in formats 0 and 1. */
  readonly cInput?: CInput;
}

/**
 * The image of a tree, which is left as it is. A tree that no image can hold is an error that names the path: names,
 * targets, numbers out of bounds, whiteouts with several names, directories with two.
 */
export function writeErofs(tree: Tree, { format, cInput }: WriteOptions): Uint8Array {
  const { inodes, xattrs } = collectInodes(tree, format, cInput);
  const placement = place(inodes, xattrs, format, cInput !== undefined);
  if (placement.imageBytes > MAX_IMAGE) {
    throw new Error(`image of ${placement.imageBytes} bytes, at most ${MAX_IMAGE}`);
  }
  return new Writer(placement, format).write();
}

class Writer {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #placement: Placement;
  readonly #format: ErofsFormat;
  /** Shared xattrs are counted from here, in units of four bytes. */
  readonly #sharedBase: number;

  constructor(placement: Placement, format: ErofsFormat) {
    this.#bytes = new Uint8Array(placement.imageBytes);
    this.#view = new DataView(this.#bytes.buffer);
    this.#placement = placement;
    this.#format = format;
    this.#sharedBase = format === 2 ? 0 : placement.sharedAt - (placement.sharedAt % BLOCK_SIZE);
  }

  write(): Uint8Array {
    this.#writeHeader();
    this.#writeSuperblock();
    for (const inode of this.#placement.inodes) {
      this.#writeInode(inode);
      if (inode.xattrBytes > 0) this.#writeXattrs(inode);
      this.#writeContent(inode);
    }
    let at = this.#placement.sharedAt;
    for (const xattr of this.#placement.shared) at = this.#writeXattr(at, xattr);
    return this.#bytes;
  }

  #writeHeader(): void {
    const { at, magic, version, flags, composefsVersion } = COMPOSEFS_HEADER;
    magic.set(this.#view, at, COMPOSEFS_MAGIC);
    version.set(this.#view, at, HEADER_VERSION);
    flags.set(this.#view, at, this.#format !== 2 && this.#placement.holdsAcl ? FLAG_HAS_ACL : 0);
    composefsVersion.set(this.#view, at, this.#format);
  }

  #writeSuperblock(): void {
    const view = this.#view;
    const { at, ...field } = SUPERBLOCK;
    const { inodes, buildTime } = this.#placement;
    field.magic.set(view, at, EROFS_MAGIC);
    field.featureCompat.set(view, at, FEATURE_COMPAT_MTIME | FEATURE_COMPAT_XATTR_FILTER);
    field.blockBits.set(view, at, BLOCK_BITS);
    field.rootNid.set(view, at, inodes[0]!.inode.nid);
    field.inodes.set(view, at, inodes.length);
    field.buildTime.set(view, at, buildTime.sec);
    field.buildTimeNsec.set(view, at, buildTime.nsec);
    field.blocks.set(view, at, this.#bytes.length / BLOCK_SIZE);
    field.xattrBlock.set(view, at, this.#sharedBase / BLOCK_SIZE);
  }

  #writeInode(placed: PlacedInode): void {
    const view = this.#view;
    const { inode, offset, size } = placed;
    const { stat, nlink, index, fileType } = inode;
    const layout = placed.compact ? INODE_COMPACT : INODE_EXTENDED;
    layout.format.set(
      view,
      offset,
      (placed.compact ? 0 : INODE_IS_EXTENDED) | (placed.layout << 1),
    );
    layout.xattrCount.set(view, offset, xattrCount(placed.xattrBytes));
    layout.mode.set(view, offset, fileType.mode | (stat.mode & 0o7777));
    layout.nlink.set(view, offset, nlink);
    layout.size.set(view, offset, size);
    layout.data.set(view, offset, this.#data(placed));
    layout.ino.set(view, offset, this.#format === 2 ? inode.nid : index);
    layout.uid.set(view, offset, stat.uid);
    layout.gid.set(view, offset, stat.gid);
    if (placed.compact) return;
    INODE_EXTENDED.mtime.set(view, offset, stat.mtimeSec);
    INODE_EXTENDED.mtimeNsec.set(view, offset, this.#format === 2 ? 0 : stat.mtimeNsec);
  }

  /** The inode's union: block, chunk format or device. */
  #data({ inode: { content }, size, blockCount, blocksAt, chunksMoved }: PlacedInode): number {
    const block = blockCount > 0 ? blocksAt / BLOCK_SIZE : 0;
    switch (content.type) {
      case "chardev":
      case "blockdev":
        return content.rdev;
      case "external":
      case "sparse": {
        if (this.#format === 2) return CHUNK_FORMAT_V2;
        const bits = chunkBits(size) - BLOCK_BITS;
        // the C tools patch the block number into the field that says how long chunks are; only its high half survives
        return chunksMoved ? ((block & 0xffff0000) | bits) >>> 0 : bits;
      }
      default:
        return block;
    }
  }

  #writeXattrs({ inode, xattrsAt }: PlacedInode): void {
    const view = this.#view;
    let present = 0;
    let at = xattrsAt + XATTR_HEADER.bytes;
    for (const { name, sharedAt } of inode.xattrs) {
      present |= name.filterBit;
      if (sharedAt === undefined) continue;
      const offset = this.#placement.sharedAt + sharedAt - this.#sharedBase;
      view.setUint32(at, offset / XATTR_ALIGN, true);
      at += SHARED_REFERENCE;
    }
    const shared = (at - xattrsAt - XATTR_HEADER.bytes) / SHARED_REFERENCE;
    XATTR_HEADER.nameFilter.set(view, xattrsAt, ~present >>> 0);
    XATTR_HEADER.sharedCount.set(view, xattrsAt, shared);
    for (const xattr of inode.xattrs) {
      if (xattr.sharedAt === undefined) at = this.#writeXattr(at, xattr);
    }
  }

  /** Returns the offset behind it. */
  #writeXattr(at: number, xattr: Xattr): number {
    const { prefix, suffix } = xattr.name;
    XATTR_ENTRY.suffixLength.set(this.#view, at, suffix.length);
    XATTR_ENTRY.prefix.set(this.#view, at, prefix);
    XATTR_ENTRY.valueLength.set(this.#view, at, xattr.length);
    const suffixAt = at + XATTR_ENTRY.bytes;
    const valueAt = suffixAt + suffix.length;
    this.#writeString(suffixAt, suffix);
    if (xattr.object === undefined) this.#writeString(valueAt, xattr.value);
    else xattr.object.write(this.#bytes, valueAt, xattr.digest);
    return at + xattr.bytes;
  }

  #writeContent(placed: PlacedInode): void {
    const { inode, tailAt, tailBytes, blocksAt, blockCount, directory } = placed;
    const { content } = inode;
    switch (content.type) {
      case "directory":
        for (const [i, block] of directory!.blocks.entries()) {
          writeDirents(this.#view, blocksAt + i * BLOCK_SIZE, block);
        }
        writeDirents(this.#view, tailAt, directory!.tail);
        return;
      case "inline": {
        const inBlocks = content.data.length - tailBytes;
        this.#bytes.set(content.data.subarray(0, inBlocks), blocksAt);
        this.#bytes.set(content.data.subarray(inBlocks), tailAt);
        return;
      }
      case "symlink":
        this.#writeString(blockCount > 0 ? blocksAt : tailAt, content.target);
        return;
      case "external":
      case "sparse":
        // no chunk has a block: the content is elsewhere
        for (let at = tailAt; at < tailAt + tailBytes; at++) this.#bytes[at] = 0xff;
        if (blockCount > 0) {
          this.#bytes.fill(0xff, blocksAt, blocksAt + blockCount * BLOCK_SIZE);
        }
        return;
    }
  }

  #writeString(at: number, text: ByteString): void {
    for (let i = 0; i < text.length; i++) this.#bytes[at + i] = text.charCodeAt(i);
  }
}
