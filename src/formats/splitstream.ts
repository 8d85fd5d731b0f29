/**
 * Splitstreams: a byte stream (a layer's tar, a JSON document) as inline pieces and references to objects, such that
 * the original can be put together again bit for bit (composefs-rs doc/splitstream.md).
 */
import type { HashName } from "./digest.ts";

/** zstd, given by whoever can do it. */
export interface Zstd {
  /** One frame. */
  compress(data: Uint8Array): Uint8Array;
  /** All frames; throws if the result is larger than `limit` bytes, and for anything that is not zstd. */
  decompress(data: Uint8Array, limit: number): Uint8Array;
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
  /** Bytes of the stream; a view, valid as long as the splitstream. */
  | { readonly type: "inline"; readonly data: Uint8Array }
  /** The whole content of an object belongs here. */
  | { readonly type: "external"; readonly digest: Uint8Array };

/** A splitstream that was read. Tables are checked when it is parsed, compressed sections when they are asked for. */
export interface Splitstream {
  readonly hash: HashName;
  readonly contentType: bigint;
  /** Size of the merged stream in bytes. */
  readonly size: number;
  /** Objects of the chunks, each once. */
  readonly objectRefs: readonly Uint8Array[];
  /** Streams and images that this one refers to, in the writer's order. */
  namedRefs(): Map<string, Uint8Array>;
  /** The pieces, in order; adjacent inline bytes are one piece. */
  chunks(): Iterable<Chunk>;
}

/** Reads a splitstream of either header layout. Errors name the offset. */
export declare function parseSplitstream(
  bytes: Uint8Array,
  hash: HashName,
  zstd: Zstd,
): Splitstream;

/** Writes a splitstream. */
export declare class SplitstreamWriter {
  constructor(hash: HashName, contentType: bigint, zstd: Zstd);
  /** Appends bytes of the stream (copied; adjacent calls are merged). */
  inline(data: Uint8Array): void;
  /** Appends the content of an object of `size` bytes. */
  external(digest: Uint8Array, size: number): void;
  /** Names another stream or image. The name must not hold NUL. */
  addNamedRef(name: string, digest: Uint8Array): void;
  /** The bytes of the finished splitstream. */
  finish(): Uint8Array;
}
