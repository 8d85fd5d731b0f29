/**
 * Splitstreams: a byte stream (a layer's tar, a JSON document) as inline pieces and references to objects, such that
 * the original can be put together again bit for bit. The container of composefs-rs (its `splitstream` module), with
 * the header of its first releases on reading. All integers are little-endian.
 *
 * File: header, info section, table of streams, table of objects, named references (zstd), stream (zstd).
 */
import { fromBytes, toText } from "./bytestring.ts";
import { DIGEST_SIZE, type HashName, VERITY_ALGORITHM } from "./digest.ts";
import { PieceReader } from "./piece-reader.ts";
import {
  HEADER,
  INFO,
  INFO_SIZE,
  LG_BLOCK_SIZE,
  MAGIC,
  OLD_HEADER,
  SPLITSTREAM_HEADER_SIZE,
  VERSION,
} from "./splitstream-layout.ts";

/** zstd, given by whoever can do it. */
export interface Zstd {
  /** One frame. */
  compress(data: Uint8Array): Uint8Array;
  /** All frames; throws if the result is larger than `limit` bytes, and for anything that is not zstd. */
  decompress(data: Uint8Array, limit: number): Uint8Array;
  /** The same, in pieces as they come: what is in one is valid after the next, and memory is bounded by neither size. */
  decompressPieces(data: Uint8Array, limit: number): Iterable<Uint8Array>;
}

/** What a splitstream holds: eight ASCII characters as a little-endian number, but for ostree's commits. */
export const CONTENT_TYPES = {
  "oci-layer": 0x726579616c69636fn,
  "oci-config": 0x67666e6f6369636fn,
  "oci-manifest": 0x66696e616d69636fn,
  "oci-blob": 0x626f6c625f69636fn,
  "ostree-commit": 0xafe138c18c463ef1n,
  "ostree-summary": 0x7972616d6d75736fn,
} as const;

export type Chunk =
  /** Bytes of the stream; may be a view, never empty. */
  | { readonly type: "inline"; readonly data: Uint8Array }
  /** The whole content of an object belongs here. */
  | { readonly type: "external"; readonly digest: Uint8Array };

/** A splitstream that was read. Header and tables are checked at once, compressed sections when they are asked for. */
export interface Splitstream {
  readonly hash: HashName;
  readonly contentType: bigint;
  /** Size of the merged stream in bytes. */
  readonly size: number;
  /** Objects of the chunks, each once. */
  readonly objectRefs: readonly Uint8Array[];
  /** Streams and images that this one refers to, in the writer's order. A repeated name counts as its last. */
  namedRefs(): Map<string, Uint8Array>;
  /** The pieces, in order, as the writer cut them; but inline ones of more than a megabyte may come in parts. */
  chunks(): Generator<Chunk>;
}

/** Those streams are zstd from their first byte on. */
const ZSTD_MAGIC = 0xfd2fb528;
const MAX_NAMED_REFS = 16 << 20;
const MAX_STREAM = 2 ** 30;
/** Inline chunks of up to so many bytes are put together. */
const MAX_GATHERED = 1 << 20;

interface Range {
  readonly start: number;
  readonly end: number;
}

/**
 * Reads a splitstream of either header layout; `hash` is the repository's.
 * Errors name an offset: of the file, or of the decompressed section that they name.
 */
export function parseSplitstream(bytes: Uint8Array, hash: HashName, zstd: Zstd): Splitstream {
  if (bytes.length < SPLITSTREAM_HEADER_SIZE) {
    throw new Error(
      `not a splitstream: ${bytes.length} bytes, a header of ${SPLITSTREAM_HEADER_SIZE} expected`,
    );
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const header = headerOf(bytes);
  if (header === undefined && view.getUint32(0, true) === ZSTD_MAGIC) {
    throw new Error(
      "not a splitstream: it is what composefs-rs wrote until November 2025, which is not read",
    );
  }
  if (header === undefined) throw new Error('not a splitstream: no "SplitStream" at offset 0');
  expect(bytes, header.version, VERSION, "version");
  expect(bytes, header.algorithm, VERITY_ALGORITHM[hash], `fs-verity algorithm of ${hash}`);
  expect(bytes, header.lgBlockSize, LG_BLOCK_SIZE, "log2 of the block size");

  const info = range(view, header.info, "info section");
  if (info.end - info.start < INFO_SIZE) {
    throw new Error(
      `offset ${header.info}: info section of ${info.end - info.start} bytes, at least ${INFO_SIZE} expected`,
    );
  }
  const field = (offset: number) => info.start + offset;
  const streamRefs = digests(bytes, view, field(INFO.streamRefs), hash, "stream references");
  const objectRefs = digests(bytes, view, field(INFO.objectRefs), hash, "object references");
  const stream = range(view, field(INFO.stream), "stream section");
  const names = range(view, field(INFO.namedRefs), "named references");
  const size = u64(view, field(INFO.size), "stream size");

  function* inflate(section: Range, what: string, limit: number): Generator<Uint8Array> {
    if (section.start === section.end) return;
    try {
      yield* zstd.decompressPieces(bytes.subarray(section.start, section.end), limit);
    } catch (error) {
      throw new Error(`offset ${section.start}: ${what}`, { cause: error });
    }
  }

  return {
    hash,
    contentType: view.getBigUint64(field(INFO.contentType), true),
    size,
    objectRefs,
    namedRefs: () => {
      const plain = new PieceReader(inflate(names, "named references", MAX_NAMED_REFS));
      return parseNames(plain.take(MAX_NAMED_REFS), streamRefs);
    },
    // An inline byte costs at most nine here (a chunk header each), an object that is not empty eight at most.
    chunks: () =>
      parseChunks(
        new PieceReader(inflate(stream, "stream section", Math.min(MAX_STREAM, 9 * size + 4096))),
        objectRefs,
        size,
      ),
  };
}

/** Whether a file that begins with these bytes (at least `SPLITSTREAM_HEADER_SIZE` of them) says that it is a splitstream. */
export function isSplitstream(start: Uint8Array): boolean {
  return headerOf(start) !== undefined;
}

/** The content type of the splitstream that begins with these bytes; `undefined` if they do not tell. */
export function contentTypeOf(start: Uint8Array): bigint | undefined {
  const header = headerOf(start);
  if (header === undefined || start.length < SPLITSTREAM_HEADER_SIZE) return undefined;
  const view = new DataView(start.buffer, start.byteOffset, start.byteLength);
  const at = view.getBigUint64(header.info, true) + BigInt(INFO.contentType);
  return at + 8n <= BigInt(start.length) ? view.getBigUint64(Number(at), true) : undefined;
}

function headerOf(bytes: Uint8Array): typeof HEADER | typeof OLD_HEADER | undefined {
  const isAt = (at: number) => fromBytes(bytes.subarray(at, at + MAGIC.length)) === MAGIC;
  if (isAt(HEADER.magic)) return HEADER;
  return isAt(OLD_HEADER.magic) ? OLD_HEADER : undefined;
}

function expect(bytes: Uint8Array, offset: number, value: number, what: string): void {
  if (bytes[offset] !== value) {
    throw new Error(`offset ${offset}: ${what} expected to be ${value}, is ${bytes[offset]}`);
  }
}

function u64(view: DataView, offset: number, what: string): number {
  const value = view.getBigUint64(offset, true);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new Error(`offset ${offset}: ${what} of ${value} is implausible`);
  }
  return Number(value);
}

function range(view: DataView, offset: number, what: string): Range {
  const start = view.getBigUint64(offset, true);
  const end = view.getBigUint64(offset + 8, true);
  if (start > end || end > BigInt(view.byteLength)) {
    throw new Error(
      `offset ${offset}: ${what} at ${start}..${end} is not inside the file of ${view.byteLength} bytes`,
    );
  }
  return { start: Number(start), end: Number(end) };
}

function digests(
  bytes: Uint8Array,
  view: DataView,
  offset: number,
  hash: HashName,
  what: string,
): Uint8Array[] {
  const { start, end } = range(view, offset, what);
  const size = DIGEST_SIZE[hash];
  if ((end - start) % size !== 0) {
    throw new Error(`offset ${offset}: ${what} of ${end - start} bytes, not a multiple of ${size}`);
  }
  const out: Uint8Array[] = [];
  for (let at = start; at < end; at += size) out.push(bytes.subarray(at, at + size));
  return out;
}

/** Records `<index>:<name>\0`; the index is into the table of streams. */
function parseNames(plain: Uint8Array, streamRefs: readonly Uint8Array[]): Map<string, Uint8Array> {
  const refs = new Map<string, Uint8Array>();
  for (let at = 0; at < plain.length; ) {
    const fail = (why: string) => new Error(`named references, offset ${at}: ${why}`);
    const end = plain.indexOf(0, at);
    if (end < 0) throw fail("record without its closing NUL");
    const record = toText(fromBytes(plain.subarray(at, end)));
    if (record === undefined) throw fail("record is not UTF-8");
    const colon = record.indexOf(":");
    const index = colon < 0 ? "" : record.slice(0, colon);
    if (!/^[0-9]{1,9}$/.test(index)) throw fail('record is not "<index>:<name>"');
    const digest = streamRefs[Number(index)];
    if (digest === undefined) throw fail(`no stream ${index}, there are ${streamRefs.length}`);
    refs.set(record.slice(colon + 1), digest);
    at = end + 1;
  }
  return refs;
}

/**
 * Each chunk starts with an i64: below zero, so many inline bytes follow; else the index of an object. All is checked as it
 * comes, so that of what is damaged no more is decompressed than what is before the damage.
 */
function* parseChunks(
  plain: PieceReader,
  objectRefs: readonly Uint8Array[],
  size: number,
): Generator<Chunk> {
  let inline = 0;
  for (;;) {
    const at = plain.offset;
    const fail = (why: string) => new Error(`stream section, offset ${at}: ${why}`);
    const header = plain.take(8);
    if (header.length === 0) return;
    if (header.length < 8) throw fail("stream ends inside a chunk header");
    const head = new DataView(header.buffer, header.byteOffset).getBigInt64(0, true);
    if (head >= 0n) {
      const digest = head < objectRefs.length ? objectRefs[Number(head)] : undefined;
      if (digest === undefined) throw fail(`no object ${head}, there are ${objectRefs.length}`);
      yield { type: "external", digest };
      continue;
    }
    if (-head > BigInt(size - inline)) {
      throw fail(
        `inline chunk of ${-head} bytes: more inline bytes than the stream's size of ${size}`,
      );
    }
    const length = -Number(head);
    inline += length;
    for (let left = length; left > 0; ) {
      const data = length <= MAX_GATHERED ? plain.take(length) : plain.some(left);
      left -= data.length;
      if (data.length === 0 || (left > 0 && length <= MAX_GATHERED)) {
        throw fail(`inline chunk of ${length} bytes, ${length - left} are left`);
      }
      yield { type: "inline", data };
    }
  }
}
