/** Writing splitstreams: see splitstream.ts. */
import { type ByteString, fromBytes, fromText, toBytes } from "./bytestring.ts";
import { DIGEST_SIZE, type HashName, VERITY_ALGORITHM } from "./digest.ts";
import type { Zstd } from "./splitstream.ts";
import {
  HEADER,
  INFO,
  INFO_SIZE,
  LG_BLOCK_SIZE,
  MAGIC,
  SPLITSTREAM_HEADER_SIZE,
  VERSION,
} from "./splitstream-layout.ts";

/** About so much of a stream is compressed at once, to a frame: what is not compressed yet takes memory. In bytes. */
const FRAME = 1 << 22;
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
    const start = SPLITSTREAM_HEADER_SIZE + INFO_SIZE;
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
    setRange(HEADER.info, SPLITSTREAM_HEADER_SIZE, start);
    let at = start;
    for (const name of ["streamRefs", "objectRefs", "namedRefs", "stream"] as const) {
      setRange(SPLITSTREAM_HEADER_SIZE + INFO[name], at, at + sizeOf(sections[name]));
      for (const piece of sections[name]) {
        out.set(piece, at);
        at += piece.length;
      }
    }
    view.setBigUint64(SPLITSTREAM_HEADER_SIZE + INFO.contentType, this.#contentType, true);
    view.setBigUint64(SPLITSTREAM_HEADER_SIZE + INFO.size, BigInt(this.#size), true);
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
