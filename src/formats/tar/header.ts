/**
 * Header blocks of tar archives: POSIX ustar, GNU, and the older V7 form that everything else is taken for.
 */
import { type ByteString, display, fromBytes } from "../bytestring.ts";

/** Size of a header block, and what bodies are padded to, in bytes. */
export const BLOCK_SIZE = 512;

/** Offset and size in bytes of each field of a header block. */
export const TAR_HEADER = {
  name: [0, 100],
  mode: [100, 8],
  uid: [108, 8],
  gid: [116, 8],
  size: [124, 12],
  mtime: [136, 12],
  checksum: [148, 8],
  type: [156, 1],
  linkName: [157, 100],
  /** Magic and version at once. */
  magic: [257, 8],
  userName: [265, 32],
  groupName: [297, 32],
  devMajor: [329, 8],
  devMinor: [337, 8],
  prefix: [345, 155],
} as const satisfies Record<string, readonly [offset: number, size: number]>;

type Field = keyof typeof TAR_HEADER;

/** What field `magic` holds. V7 headers have none. */
export const TAR_MAGIC = { ustar: "ustar\0" + "00", gnu: "ustar  \0" } as const;

export type TarFormat = keyof typeof TAR_MAGIC | "v7";

/** What every header block says, nothing applied to it that other blocks say. */
export interface TarHeader {
  readonly format: TarFormat;
  /** The type letter. */
  readonly type: string;
  /** With the ustar prefix. */
  readonly name: ByteString;
  /** Empty if there is none. */
  readonly linkName: ByteString;
  readonly size: bigint;
}

/** What only the header block of a member must say: other blocks may hold anything in these fields. */
export interface TarHeaderStat {
  readonly mode: bigint;
  readonly uid: bigint;
  readonly gid: bigint;
  readonly mtime: bigint;
  /** Device numbers, which V7 headers do not have. */
  readonly device: { readonly major: bigint; readonly minor: bigint } | undefined;
}

/** Whether a block is all zeros, as at the end of an archive. */
export function isZeroBlock(block: Uint8Array): boolean {
  for (let i = 0; i < BLOCK_SIZE; i++) if (block[i] !== 0) return false;
  return true;
}

/** Parses the header block that is at `offset` of the archive. Every error names the offset of the field. */
export function parseHeader(block: Uint8Array, offset: number): TarHeader {
  checkSum(block, offset);
  const magic = fieldBytes(block, "magic");
  const format =
    magic === TAR_MAGIC.ustar ? "ustar" : magic === TAR_MAGIC.gnu ? "gnu" : ("v7" as const);

  const name = fieldText(block, "name");
  const prefix = format === "ustar" ? fieldText(block, "prefix") : "";
  return {
    format,
    type: fieldBytes(block, "type"),
    name: (prefix === "" ? name : `${prefix}/${name}`) as ByteString,
    linkName: fieldText(block, "linkName"),
    size: fieldNumber(block, "size", offset),
  };
}

/** Parses the rest of a member's header block. Errors as of `parseHeader`. */
export function parseHeaderStat(
  block: Uint8Array,
  format: TarFormat,
  offset: number,
): TarHeaderStat {
  const number = (field: Field) => fieldNumber(block, field, offset);
  return {
    mode: number("mode"),
    uid: number("uid"),
    gid: number("gid"),
    mtime: number("mtime"),
    device:
      format === "v7"
        ? undefined
        : {
            major: fieldOctal(block, "devMajor", offset),
            minor: fieldOctal(block, "devMinor", offset),
          },
  };
}

function fieldBytes(block: Uint8Array, field: Field): ByteString {
  const [start, size] = TAR_HEADER[field];
  return fromBytes(block.subarray(start, start + size));
}

/** A field up to its first NUL. */
function fieldText(block: Uint8Array, field: Field): ByteString {
  const [start, size] = TAR_HEADER[field];
  let end = start;
  while (end < start + size && block[end] !== 0) end++;
  return fromBytes(block.subarray(start, end));
}

const OCTAL = /^[\t-\r ]*\+?([0-7]*)[\t-\r ]*$/;

/** Octal digits, white space around them; an empty field is 0. */
function fieldOctal(block: Uint8Array, field: Field, offset: number): bigint {
  const text = fieldText(block, field);
  const digits = OCTAL.exec(text)?.[1];
  if (digits === undefined || (digits === "" && text.includes("+"))) {
    throw fieldError(field, offset, `expected octal digits, found "${display(text)}"`);
  }
  return digits === "" ? 0n : BigInt(Number.parseInt(digits, 8));
}

/** Octal, or, with the top bit of the first byte set, a big-endian number in the other bits. */
function fieldNumber(block: Uint8Array, field: Field, offset: number): bigint {
  const [start, size] = TAR_HEADER[field];
  const first = block[start]!;
  if ((first & 0x80) === 0) return fieldOctal(block, field, offset);
  if ((first & 0x40) !== 0) {
    throw fieldError(field, offset, "expected a number that is not negative");
  }
  let value = BigInt(first & 0x7f);
  for (let i = 1; i < size; i++) value = (value << 8n) | BigInt(block[start + i]!);
  if (value >> 64n !== 0n) throw fieldError(field, offset, "expected a number of at most 64 bits");
  return value;
}

function fieldError(field: Field, offset: number, why: string): Error {
  return new Error(`tar offset ${offset + TAR_HEADER[field][0]}: ${field}: ${why}`);
}

/** The sum of all bytes, the checksum's own as spaces. Some writers added signed bytes up. */
function checkSum(block: Uint8Array, offset: number): void {
  const stored = Number(fieldOctal(block, "checksum", offset));
  const [start, size] = TAR_HEADER.checksum;
  let unsigned = 0;
  let high = 0;
  for (let i = 0; i < BLOCK_SIZE; i++) {
    const byte = block[i]!;
    unsigned += byte;
    high += byte >> 7;
  }
  for (let i = start; i < start + size; i++) {
    unsigned += 0x20 - block[i]!;
    high -= block[i]! >> 7;
  }
  if (stored !== unsigned && stored !== unsigned - 256 * high) {
    throw fieldError("checksum", offset, `is ${stored}, the header adds up to ${unsigned}`);
  }
}
