/** Where the fields of a splitstream are, and what is always in them. All integers are little-endian. */
import { fromText } from "./bytestring.ts";

export const MAGIC = fromText("SplitStream");
export const VERSION = 0;
export const LG_BLOCK_SIZE = 12;
export const SPLITSTREAM_HEADER_SIZE = 32;
export const INFO_SIZE = 80;

/** Offsets of the header's fields: u8 but for `flags` (u16) and the range `info`. */
export const HEADER = {
  magic: 0,
  version: 11,
  flags: 12,
  algorithm: 14,
  lgBlockSize: 15,
  info: 16,
};

/** The same header before its layout was fixed (composefs-rs up to 0.3). */
export const OLD_HEADER = {
  info: 0,
  flags: 16,
  magic: 18,
  version: 29,
  algorithm: 30,
  lgBlockSize: 31,
};

/** Offsets inside the info section. A range is u64 start, u64 end (exclusive), both offsets in the file. */
export const INFO = {
  streamRefs: 0,
  objectRefs: 16,
  stream: 32,
  namedRefs: 48,
  contentType: 64,
  size: 72,
};
