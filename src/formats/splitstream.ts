/**
 * Splitstreams: a byte stream (a layer's tar, a JSON document) as inline pieces and references to objects, such that
 * the original can be put together again bit for bit. The container of composefs-rs (its `splitstream` module), with
 * the header of its first releases on reading. All integers are little-endian.
 *
 * File: header, info section, table of streams, table of objects, named references (zstd), stream (zstd).
 */
import { type ByteString, fromBytes, fromText, toBytes, toText } from "./bytestring.ts";
import { DIGEST_SIZE, type HashName, VERITY_ALGORITHM } from "./digest.ts";

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

const MAGIC = fromText("SplitStream");
const VERSION = 0;
const LG_BLOCK_SIZE = 12;
const HEADER_SIZE = 32;
export const SPLITSTREAM_HEADER_SIZE = HEADER_SIZE;
const INFO_SIZE = 80;

/** Offsets of the header's fields: u8 but for `flags` (u16) and the range `info`. */
const HEADER = { magic: 0, version: 11, flags: 12, algorithm: 14, lgBlockSize: 15, info: 16 };

/** The same header before its layout was fixed (composefs-rs up to 0.3). */
const OLD_HEADER = { info: 0, flags: 16, magic: 18, version: 29, algorithm: 30, lgBlockSize: 31 };

/** Offsets inside the info section. A range is u64 start, u64 end (exclusive), both offsets in the file. */
const INFO = {
  streamRefs: 0,
  objectRefs: 16,
  stream: 32,
  namedRefs: 48,
  contentType: 64,
  size: 72,
};

/** Those streams are zstd from their first byte on. */
const ZSTD_MAGIC = 0xfd2fb528;
const MAX_NAMED_REFS = 16 << 20;
const MAX_STREAM = 2 ** 30;
/** Inline chunks of up to so many bytes are put together. */
const MAX_GATHERED = 1 << 20;
/** About so much of a stream is compressed at once, to a frame: what is not compressed yet takes memory. In bytes. */
const FRAME = 1 << 22;

interface Range {
  readonly start: number;
  readonly end: number;
}

/**
 * Reads a splitstream of either header layout; `hash` is the repository's.
 * Errors name an offset: of the file, or of the decompressed section that they name.
 */
export function parseSplitstream(bytes: Uint8Array, hash: HashName, zstd: Zstd): Splitstream {
  if (bytes.length < HEADER_SIZE) {
    throw new Error(
      `not a splitstream: ${bytes.length} bytes, a header of ${HEADER_SIZE} expected`,
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
  if (header === undefined || start.length < HEADER_SIZE) return undefined;
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

const NOTHING = new Uint8Array(0);

/** Reads on through pieces, which may be cut anywhere. */
class PieceReader {
  /** How much was read. */
  offset = 0;
  readonly #pieces: Iterator<Uint8Array>;
  #piece: Uint8Array = NOTHING;
  #at = 0;

  constructor(pieces: Iterable<Uint8Array>) {
    this.#pieces = pieces[Symbol.iterator]();
  }

  /** At most `length` bytes, none only at the end: a view of what is at hand. */
  some(length: number): Uint8Array {
    while (this.#at === this.#piece.length) {
      const { value, done } = this.#pieces.next();
      if (done === true) return NOTHING;
      this.#piece = value;
      this.#at = 0;
    }
    const data = this.#piece.subarray(this.#at, this.#at + length);
    this.#at += data.length;
    this.offset += data.length;
    return data;
  }

  /** `length` bytes, fewer only at the end. They are copied if they are in several pieces. */
  take(length: number): Uint8Array {
    const first = this.some(length);
    if (first.length === length) return first;
    const parts = [first];
    let have = first.length;
    while (have < length) {
      const part = this.some(length - have);
      if (part.length === 0) break;
      parts.push(part);
      have += part.length;
    }
    const out = new Uint8Array(have);
    let at = 0;
    for (const part of parts) {
      out.set(part, at);
      at += part.length;
    }
    return out;
  }
}

const NO_INLINE = -1;

/** Writes a splitstream with the current header. Add pieces and names in any order, then call `finish` once. */
export class SplitstreamWriter {
  readonly #hash: HashName;
  readonly #contentType: bigint;
  readonly #zstd: Zstd;
  readonly #objectRefs = new DigestTable();
  readonly #streamRefs = new DigestTable();
  readonly #names = new Map<ByteString, number>();
  readonly #frames: Uint8Array[] = [];
  /** The stream since the last frame. */
  #plain = new Uint8Array(1 << 12);
  #length = 0;
  /** Where the header of the open inline chunk is: readers depend on adjacent inline data being one chunk. */
  #inlineAt = NO_INLINE;
  #size = 0;

  constructor(hash: HashName, contentType: bigint, zstd: Zstd) {
    this.#hash = hash;
    this.#contentType = contentType;
    this.#zstd = zstd;
  }

  /** Appends bytes of the stream. They are copied, and merged with what was inline just before. */
  inline(data: Uint8Array): void {
    if (data.length === 0) return;
    if (this.#inlineAt === NO_INLINE) {
      this.#inlineAt = this.#length;
      this.#reserve(8);
      this.#length += 8;
    }
    this.#reserve(data.length);
    this.#plain.set(data, this.#length);
    this.#length += data.length;
    this.#size += data.length;
  }

  /** Appends the content of an object, which has `size` bytes. */
  external(digest: Uint8Array, size: number): void {
    this.#closeInline();
    this.#reserve(8);
    this.#i64(this.#length, this.#objectRefs.add(this.#check(digest)));
    this.#length += 8;
    this.#size += size;
    if (this.#length >= FRAME) this.#endFrame();
  }

  /** Names another stream or image. A name may hold anything but NUL, and has one digest. */
  addNamedRef(name: string, digest: Uint8Array): void {
    if (name.includes("\0")) throw new Error("NUL in the name of a reference");
    const key = fromText(name);
    const index = this.#streamRefs.add(this.#check(digest));
    if ((this.#names.get(key) ?? index) !== index) {
      throw new Error(`two digests for the reference ${name}`);
    }
    this.#names.set(key, index);
  }

  /** The bytes of the splitstream. */
  finish(): Uint8Array {
    this.#closeInline();
    const names = [...this.#names].sort(([a], [b]) => (a < b ? -1 : 1));
    const records = names.map(([name, index]) => `${index}:${name}\0`).join("");
    const namedRefs = this.#zstd.compress(toBytes(records as ByteString));
    if (this.#length > 0 || this.#frames.length === 0) this.#endFrame();

    const sections = {
      streamRefs: [this.#streamRefs.bytes()],
      objectRefs: [this.#objectRefs.bytes()],
      namedRefs: [namedRefs],
      stream: this.#frames,
    };
    const sizeOf = (pieces: readonly Uint8Array[]) =>
      pieces.reduce((sum, { length }) => sum + length, 0);
    const start = HEADER_SIZE + INFO_SIZE;
    const total = Object.values(sections).reduce((sum, pieces) => sum + sizeOf(pieces), start);
    const out = new Uint8Array(total);
    const view = new DataView(out.buffer);
    const setRange = (offset: number, from: number, to: number) => {
      view.setBigUint64(offset, BigInt(from), true);
      view.setBigUint64(offset + 8, BigInt(to), true);
    };
    out.set(toBytes(MAGIC), HEADER.magic);
    out[HEADER.version] = VERSION;
    out[HEADER.algorithm] = VERITY_ALGORITHM[this.#hash];
    out[HEADER.lgBlockSize] = LG_BLOCK_SIZE;
    setRange(HEADER.info, HEADER_SIZE, start);
    let at = start;
    for (const name of ["streamRefs", "objectRefs", "namedRefs", "stream"] as const) {
      setRange(HEADER_SIZE + INFO[name], at, at + sizeOf(sections[name]));
      for (const piece of sections[name]) {
        out.set(piece, at);
        at += piece.length;
      }
    }
    view.setBigUint64(HEADER_SIZE + INFO.contentType, this.#contentType, true);
    view.setBigUint64(HEADER_SIZE + INFO.size, BigInt(this.#size), true);
    return out;
  }

  #check(digest: Uint8Array): Uint8Array {
    const size = DIGEST_SIZE[this.#hash];
    if (digest.length !== size) {
      throw new Error(`digest of ${digest.length} bytes, ${size} expected`);
    }
    return digest;
  }

  /** Compresses what there is. No inline chunk may be open. */
  #endFrame(): void {
    this.#frames.push(this.#zstd.compress(this.#plain.subarray(0, this.#length)));
    this.#length = 0;
  }

  #closeInline(): void {
    if (this.#inlineAt === NO_INLINE) return;
    this.#i64(this.#inlineAt, this.#inlineAt + 8 - this.#length);
    this.#inlineAt = NO_INLINE;
  }

  #i64(offset: number, value: number): void {
    new DataView(this.#plain.buffer).setBigInt64(offset, BigInt(value), true);
  }

  #reserve(bytes: number): void {
    const needed = this.#length + bytes;
    if (needed <= this.#plain.length) return;
    const grown = new Uint8Array(Math.max(needed, 2 * this.#plain.length));
    grown.set(this.#plain.subarray(0, this.#length));
    this.#plain = grown;
  }
}

/** Digests, each once, in the order of their first appearance. */
class DigestTable {
  readonly #index = new Map<ByteString, number>();

  /** The digest's index. */
  add(digest: Uint8Array): number {
    const key = fromBytes(digest);
    const known = this.#index.get(key);
    if (known !== undefined) return known;
    const index = this.#index.size;
    this.#index.set(key, index);
    return index;
  }

  bytes(): Uint8Array {
    return toBytes([...this.#index.keys()].join("") as ByteString);
  }
}
