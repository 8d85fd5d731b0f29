/**
 * The structures of an EROFS image as composefs uses it (Linux fs/erofs/erofs_fs.h, composefs' lcfs-erofs.h).
 *
 * ```
 * 0      composefs header
 * 1024   superblock
 * 1152   inodes, 32-aligned: header, xattrs, inline tail
 *        shared xattrs
 *        data blocks
 * ```
 */
import type { LeafContent } from "../tree.ts";
import { i64, u8, u16, u32, u64 } from "./fields.ts";

/**
 * Formats of composefs images. 0 and 1 are those of the C tools (they differ in how directories with whiteouts are
 * marked), 2 is that of the first years of composefs-rs.
 */
export type ErofsFormat = 0 | 1 | 2;

export const BLOCK_SIZE = 4096;
export const BLOCK_BITS = 12;
/** Inodes are aligned to this, and numbered by it: nid = offset / 32. */
export const SLOT_SIZE = 32;

/** Images are refused above this size. */
export const MAX_IMAGE = 2 ** 30;
/** Directories inside each other, the root included. A path of 4096 bytes has no more. */
export const MAX_DEPTH = 2049;
export const MAX_NAME = 255;
export const MAX_SYMLINK = 4095;
/** 1024 chunks of 2^43 bytes. */
export const MAX_FILE = 2 ** 53;
/** What a reader of format 2 takes. */
export const MAX_INLINE_V2 = 512;
export const MAX_SYMLINK_V2 = 1024;

export const COMPOSEFS_HEADER = {
  at: 0,
  magic: u32(0),
  version: u32(4),
  flags: u32(8),
  composefsVersion: u32(12),
} as const;
export const COMPOSEFS_MAGIC = 0xd078629a;
export const HEADER_VERSION = 1;
export const FLAG_HAS_ACL = 1;

export const SUPERBLOCK = {
  at: 1024,
  size: 128,
  magic: u32(0),
  featureCompat: u32(8),
  blockBits: u8(12),
  extensionSlots: u8(13),
  rootNid: u16(14),
  inodes: u64(16),
  buildTime: i64(24),
  buildTimeNsec: u32(32),
  blocks: u32(36),
  metaBlock: u32(40),
  xattrBlock: u32(44),
  featureIncompat: u32(80),
  compressionAlgorithms: u16(84),
  extraDevices: u16(86),
  packedNid: u64(96),
  directoryBlockBits: u8(90),
  xattrPrefixCount: u8(91),
} as const;
export const EROFS_MAGIC = 0xe0f5e1e2;
export const FEATURE_COMPAT_MTIME = 2;
export const FEATURE_COMPAT_XATTR_FILTER = 4;
/** Features that a reader tolerates: also checksums; chunked files, though no writer declares them. */
export const FEATURES_COMPAT = 7;
export const FEATURES_INCOMPAT = 4;

export const INODES_AT = SUPERBLOCK.at + SUPERBLOCK.size;

/** Bit 0 of an inode's format. */
export const INODE_IS_EXTENDED = 1;
/** Bits 1 to 3 of an inode's format. */
export const LAYOUT = { flatPlain: 0, flatInline: 2, chunkBased: 4 } as const;
export type Layout = (typeof LAYOUT)[keyof typeof LAYOUT];

/** `data` is the union: a block number, a chunk format, a device number. */
export const INODE_COMPACT = {
  bytes: 32,
  format: u16(0),
  xattrCount: u16(2),
  mode: u16(4),
  nlink: u16(6),
  size: u32(8),
  data: u32(16),
  ino: u32(20),
  uid: u16(24),
  gid: u16(26),
} as const;

export const INODE_EXTENDED = {
  bytes: 64,
  format: u16(0),
  xattrCount: u16(2),
  mode: u16(4),
  size: u64(8),
  data: u32(16),
  ino: u32(20),
  uid: u32(24),
  gid: u32(28),
  mtime: i64(32),
  mtimeNsec: u32(40),
  nlink: u32(44),
} as const;

/** Bits of a chunk format: the low five are log2(chunk size) - 12. */
export const CHUNK_BITS_MASK = 31;
/** The rest of its low half; the high half can hold what is left of a block number. */
export const CHUNK_UNKNOWN_BITS = 0xffe0;
export const MAX_CHUNK_BITS = 43;
/** The chunk index of format 2, whatever the size. */
export const CHUNK_FORMAT_V2 = 31;
/** An entry of a chunk index that says: no block. */
export const NULL_CHUNK = 0xffffffff;
export const CHUNK_ENTRY = 4;

export const XATTR_HEADER = { bytes: 12, nameFilter: u32(0), sharedCount: u8(4) } as const;
export const SHARED_REFERENCE = 4;
export const XATTR_ENTRY = {
  bytes: 4,
  suffixLength: u8(0),
  prefix: u8(1),
  valueLength: u16(2),
} as const;
/** Entries are padded to this; references and `xattrCount` count in it. */
export const XATTR_ALIGN = 4;
export const MAX_XATTR_COUNT = 0xffff;
export const MAX_SHARED = 0xff;

/** The name follows from the next entry's `nameOffset`. */
export const DIRENT = { bytes: 12, nid: u64(0), nameOffset: u16(8), fileType: u8(10) } as const;

export const S_IFMT = 0o170000;

/** File types of directory entries with their `st_mode` bits. */
export const FILE_TYPE = {
  regular: { dirent: 1, mode: 0o100000 },
  directory: { dirent: 2, mode: 0o040000 },
  chardev: { dirent: 3, mode: 0o020000 },
  blockdev: { dirent: 4, mode: 0o060000 },
  fifo: { dirent: 5, mode: 0o010000 },
  socket: { dirent: 6, mode: 0o140000 },
  symlink: { dirent: 7, mode: 0o120000 },
} as const;
export type FileType = (typeof FILE_TYPE)[keyof typeof FILE_TYPE];

export const CONTENT_FILE_TYPE: Readonly<Record<LeafContent["type"], FileType>> = {
  ...FILE_TYPE,
  inline: FILE_TYPE.regular,
  external: FILE_TYPE.regular,
  sparse: FILE_TYPE.regular,
};

export const alignUp = (value: number, to: number) => Math.ceil(value / to) * to;

/** log2 of the chunk size for a file: one chunk holds it, up to 8 TiB. */
export function chunkBits(size: number): number {
  const last = Math.max(size - 1, 1);
  const high = Math.floor(last / 2 ** 32);
  const bits = high > 0 ? 64 - Math.clz32(high) : 32 - Math.clz32(last);
  return Math.min(Math.max(bits, BLOCK_BITS), MAX_CHUNK_BITS);
}

/** How many entries the chunk index of a file has. */
export function chunkCount(size: number, bits: number): number {
  return Math.ceil(size / 2 ** bits);
}
