/**
 * An EROFS image as bytes that were written by somebody else: superblock, inodes, xattrs and content, each checked
 * before it is believed. Errors name the offset in the image.
 *
 * Nothing in an image that cfsboot reads may overlap, so the total of what inodes claim is bounded by the image's
 * size, and with it the time and the memory that reading takes.
 */
import type { ByteString } from "../bytestring.ts";
import { type ReadDirent, readDirents } from "./directory.ts";
import {
  BLOCK_BITS,
  BLOCK_SIZE,
  CHUNK_BITS_MASK,
  CHUNK_ENTRY,
  CHUNK_UNKNOWN_BITS,
  COMPOSEFS_HEADER,
  COMPOSEFS_MAGIC,
  chunkCount,
  EROFS_MAGIC,
  type ErofsFormat,
  FEATURES_COMPAT,
  FEATURES_INCOMPAT,
  FILE_TYPE,
  type FileType,
  HEADER_VERSION,
  INODE_COMPACT,
  INODE_EXTENDED,
  INODE_IS_EXTENDED,
  INODES_AT,
  LAYOUT,
  type Layout,
  MAX_FILE,
  MAX_IMAGE,
  NULL_CHUNK,
  S_IFMT,
  SLOT_SIZE,
  SUPERBLOCK,
} from "./layout.ts";
import { readXattrs, type StoredXattr, xattrAreaSize } from "./stored-xattrs.ts";

export interface StoredInode {
  readonly nid: number;
  readonly offset: number;
  readonly fileType: FileType;
  /** Permission bits. */
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeSec: bigint;
  readonly mtimeNsec: number;
  readonly size: number;
  readonly layout: Layout;
  /** The union: block number, chunk format or device number. */
  readonly data: number;
  readonly xattrs: readonly StoredXattr[];
  readonly xattrBytes: number;
  /** Where inline content or the chunk index begins. */
  readonly tailAt: number;
}

/** Something that is wrong with an image, and where. */
export function imageError(offset: number, why: string): Error {
  return new Error(`offset ${offset}: ${why}`);
}

const FILE_TYPES = new Map<number, FileType>(Object.values(FILE_TYPE).map((t) => [t.mode, t]));
const LAYOUTS: readonly number[] = Object.values(LAYOUT);

export class ErofsImage {
  readonly bytes: Uint8Array;
  readonly format: ErofsFormat;
  readonly rootNid: number;
  readonly #view: DataView;
  readonly #buildTime: { readonly sec: bigint; readonly nsec: number };
  readonly #sharedBase: number;
  readonly #sharedXattrs = new Map<number, StoredXattr>();
  #claimed = 0;

  /** Checks that this is an image of composefs that uses nothing unknown. */
  constructor(bytes: Uint8Array) {
    if (bytes.length > MAX_IMAGE) {
      throw imageError(MAX_IMAGE, `image of ${bytes.length} bytes, at most ${MAX_IMAGE}`);
    }
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.format = this.#checkHeader();
    const view = this.#view;
    const { at, ...field } = SUPERBLOCK;
    this.#checkSuperblock();
    this.rootNid = field.rootNid.get(view, at);
    this.#buildTime = {
      sec: field.buildTime.get(view, at),
      nsec: field.buildTimeNsec.get(view, at),
    };
    this.#sharedBase = field.xattrBlock.get(view, at) * BLOCK_SIZE;
  }

  #checkHeader(): ErofsFormat {
    const { at, magic, version, composefsVersion } = COMPOSEFS_HEADER;
    const size = this.bytes.length;
    if (size < SLOT_SIZE || magic.get(this.#view, at) !== COMPOSEFS_MAGIC) {
      throw imageError(at + magic.offset, "not an image of composefs");
    }
    if (size < INODES_AT) {
      throw imageError(size, `the image ends here, a superblock up to ${INODES_AT} expected`);
    }
    if (version.get(this.#view, at) !== HEADER_VERSION) {
      throw imageError(at + version.offset, `header version ${version.get(this.#view, at)}`);
    }
    const format = composefsVersion.get(this.#view, at);
    if (format !== 0 && format !== 1 && format !== 2) {
      throw imageError(at + composefsVersion.offset, `image format ${format}, expected 0, 1 or 2`);
    }
    return format;
  }

  #checkSuperblock(): void {
    const { at, size: _, ...field } = SUPERBLOCK;
    const expect = (name: keyof typeof field, good: (value: number) => boolean) => {
      const value = Number(field[name].get(this.#view, at));
      if (!good(value)) throw imageError(at + field[name].offset, `superblock: ${name} ${value}`);
    };
    expect("magic", (value) => value === EROFS_MAGIC);
    expect("blockBits", (value) => value === BLOCK_BITS);
    expect("featureCompat", (value) => (value & ~FEATURES_COMPAT) === 0);
    expect("featureIncompat", (value) => (value & ~FEATURES_INCOMPAT) === 0);
    for (const name of [
      "extensionSlots",
      "metaBlock",
      "compressionAlgorithms",
      "extraDevices",
      "directoryBlockBits",
      "xattrPrefixCount",
      "packedNid",
    ] as const) {
      expect(name, (value) => value === 0);
    }
    expect("buildTimeNsec", (value) => value < 1e9);
    expect("blocks", (value) => value * BLOCK_SIZE === this.bytes.length);
  }

  /** Reads an inode. To be called once for each. */
  inode(nid: number): StoredInode {
    const offset = nid * SLOT_SIZE;
    if (offset < INODES_AT || offset + INODE_COMPACT.bytes > this.bytes.length) {
      throw imageError(offset, "no inode can be here");
    }
    const view = this.#view;
    const format = INODE_COMPACT.format.get(view, offset);
    const extended = (format & INODE_IS_EXTENDED) !== 0;
    const layout = format >> 1;
    if (!LAYOUTS.includes(layout)) {
      throw imageError(offset + INODE_COMPACT.format.offset, `inode format ${format}`);
    }
    const fields = extended ? INODE_EXTENDED : INODE_COMPACT;
    if (offset + fields.bytes > this.bytes.length) throw imageError(offset, "the inode is cut off");
    const mode = fields.mode.get(view, offset);
    const fileType = FILE_TYPES.get(mode & S_IFMT);
    if (fileType === undefined) {
      throw imageError(offset + fields.mode.offset, `mode ${mode.toString(8)} has no file type`);
    }
    const size = fields.size.get(view, offset);
    if (size > MAX_FILE) throw imageError(offset + fields.size.offset, `file of ${size} bytes`);
    const mtimeNsec = extended ? INODE_EXTENDED.mtimeNsec.get(view, offset) : this.#buildTime.nsec;
    if (mtimeNsec >= 1e9) {
      throw imageError(offset + INODE_EXTENDED.mtimeNsec.offset, `${mtimeNsec} nanoseconds`);
    }
    const xattrBytes = xattrAreaSize(fields.xattrCount.get(view, offset));
    const xattrsAt = offset + fields.bytes;
    this.#claim(offset, offset, fields.bytes + xattrBytes);
    return {
      nid,
      offset,
      fileType,
      mode: mode & 0o7777,
      nlink: fields.nlink.get(view, offset),
      uid: fields.uid.get(view, offset),
      gid: fields.gid.get(view, offset),
      mtimeSec: extended ? INODE_EXTENDED.mtime.get(view, offset) : this.#buildTime.sec,
      mtimeNsec,
      size,
      layout: layout as Layout,
      data: fields.data.get(view, offset),
      xattrs: readXattrs(view, xattrsAt, xattrBytes, this.#sharedBase, this.#sharedXattrs),
      xattrBytes,
      tailAt: xattrsAt + xattrBytes,
    };
  }

  /** The content of a file, a symlink. */
  content(inode: StoredInode): Uint8Array {
    const [first, second] = this.#pieces(inode);
    const piece = ({ at, bytes }: Piece) => this.bytes.subarray(at, at + bytes);
    if (first === undefined) return new Uint8Array(0);
    if (second === undefined) return piece(first);
    const data = new Uint8Array(inode.size);
    data.set(piece(first));
    data.set(piece(second), first.bytes);
    return data;
  }

  /** The entries of a directory with `.` and `..`, in strictly ascending byte order. */
  entries(inode: StoredInode): ReadDirent[] {
    const entries: ReadDirent[] = [];
    let previous: ByteString | undefined;
    for (const piece of this.#pieces(inode)) {
      for (let at = 0; at < piece.bytes; at += BLOCK_SIZE) {
        const bytes = Math.min(BLOCK_SIZE, piece.bytes - at);
        for (const entry of readDirents(this.bytes, this.#view, piece.at + at, bytes)) {
          if (previous !== undefined && entry.name <= previous) {
            const why = entry.name === previous ? "two entries of one name" : "entry out of order";
            throw imageError(entry.offset, why);
          }
          previous = entry.name;
          entries.push(entry);
        }
      }
    }
    return entries;
  }

  /** Checks that the chunk index of a file says that no chunk is in the image. */
  checkChunks(inode: StoredInode): void {
    // format 2 writes one entry, or none, whatever the size, and counts on overlayfs not to read any
    if (this.format === 2) return;
    if ((inode.data & CHUNK_UNKNOWN_BITS) !== 0) {
      throw imageError(inode.offset, `chunk format ${inode.data}`);
    }
    const bits = BLOCK_BITS + (inode.data & CHUNK_BITS_MASK);
    const bytes = CHUNK_ENTRY * chunkCount(inode.size, bits);
    if (bytes === 0 || bytes + (inode.xattrBytes % SLOT_SIZE) > BLOCK_SIZE) {
      if (bytes <= BLOCK_SIZE) return; // the writer moved the index elsewhere
      throw imageError(inode.offset, `chunk index of ${bytes} bytes, at most ${BLOCK_SIZE}`);
    }
    this.#claim(inode.offset, inode.tailAt, bytes);
    for (let at = inode.tailAt; at < inode.tailAt + bytes; at += CHUNK_ENTRY) {
      if (this.#view.getUint32(at, true) !== NULL_CHUNK) throw imageError(at, "chunk with a block");
    }
  }

  #pieces({ offset, size, layout, data, tailAt }: StoredInode): Piece[] {
    if (size === 0) return [];
    if (layout === LAYOUT.chunkBased)
      throw imageError(offset, "content in chunks, inline expected");
    const tail = layout === LAYOUT.flatInline ? size % BLOCK_SIZE : 0;
    if (layout === LAYOUT.flatInline && tail === 0) {
      throw imageError(offset, "inline content of whole blocks");
    }
    if ((tailAt % BLOCK_SIZE) + tail > BLOCK_SIZE) {
      throw imageError(tailAt, `inline content of ${tail} bytes crosses into the next block`);
    }
    const pieces: Piece[] = [];
    if (size > tail) pieces.push({ at: data * BLOCK_SIZE, bytes: size - tail });
    if (tail > 0) pieces.push({ at: tailAt, bytes: tail });
    for (const { at, bytes } of pieces) this.#claim(offset, at, bytes);
    return pieces;
  }

  /** `bytes` at `at` belong to the inode at `offset`. */
  #claim(offset: number, at: number, bytes: number): void {
    const end = at + bytes;
    if (end > this.bytes.length) {
      const size = this.bytes.length;
      throw imageError(offset, `needs ${at} to ${end}, the image has ${size} bytes`);
    }
    this.#claimed += bytes;
    if (this.#claimed > this.bytes.length) throw imageError(offset, "overlaps with other inodes");
  }
}

interface Piece {
  readonly at: number;
  readonly bytes: number;
}
