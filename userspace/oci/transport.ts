/** Where images come from: what a registry and an image layout have in common. */
import { createHash } from "node:crypto";
import type { ByteRange } from "../../src/formats/zstd-chunked.ts";
import type { Compression } from "../decompress.ts";
import type { LayerFiles } from "./containers-storage/assemble.ts";

/** What names a blob: enough to fetch it and to check it. */
export interface BlobDescriptor {
  readonly mediaType: string;
  /** `sha256:` and 64 hex digits. */
  readonly digest: string;
  /** In bytes. */
  readonly size: number;
}

/** A manifest or an index, byte for byte as it was received. */
export interface ManifestBytes {
  readonly bytes: Uint8Array;
  /** As the transport states it; the document may state its own. */
  readonly mediaType: string | undefined;
  readonly digest: string;
}

export interface Transport {
  /** The manifest or index that the reference names. If it names it by digest, that was checked. */
  root(): Promise<ManifestBytes>;
  /** A manifest or index that another one names; digest and size are checked. */
  manifest(descriptor: BlobDescriptor): Promise<ManifestBytes>;
  /** The bytes of a blob as they come, unchecked: see `verified`. */
  blob(descriptor: BlobDescriptor, signal?: AbortSignal): AsyncIterable<Uint8Array>;
  /**
   * Some bytes of a blob as they come, unchecked. Only where to fetch a part may be cheaper than to fetch all. Throws a
   * `NoRangesError` if that turns out to be impossible.
   */
  blobRange?(
    descriptor: BlobDescriptor,
    range: ByteRange,
    signal?: AbortSignal,
  ): AsyncIterable<Uint8Array>;
  /** The layer with this diff_id, if it is kept unpacked. Its blob need not be there then. */
  unpacked?(diffId: string): UnpackedLayer | undefined;
  close(): Promise<void>;
}

/** A layer that lies unpacked on this machine. Open as long as the transport is. */
export interface UnpackedLayer {
  /** What remains of its archive (tar-split), and how that is compressed. */
  tarSplit(): AsyncGenerator<Uint8Array, void, undefined>;
  readonly compression: Compression;
  /** Of the tar-split as it is, in bytes. */
  readonly size: number;
  readonly files: LayerFiles;
}

/** Blobs are to be had only as a whole. */
export class NoRangesError extends Error {}

/** The same transport, but for some of its methods. */
export function withMethods(transport: Transport, methods: Partial<Transport>): Transport {
  return {
    root: () => transport.root(),
    manifest: (descriptor) => transport.manifest(descriptor),
    blob: (descriptor, signal) => transport.blob(descriptor, signal),
    ...(transport.blobRange && {
      blobRange: (descriptor, range, signal) => transport.blobRange!(descriptor, range, signal),
    }),
    ...(transport.unpacked && { unpacked: (diffId) => transport.unpacked!(diffId) }),
    close: () => transport.close(),
    ...methods,
  };
}

/** The digest of bytes as OCI writes it. */
export function sha256Digest(bytes: Uint8Array): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

/** Checks bytes that were received against what names them. */
export function requireMatch(bytes: Uint8Array, descriptor: BlobDescriptor): void {
  if (bytes.length !== descriptor.size)
    throw new Error(`has ${bytes.length} bytes; expected ${descriptor.size}`);
  const digest = sha256Digest(bytes);
  if (digest !== descriptor.digest)
    throw new Error(`has the digest ${digest}; expected ${descriptor.digest}`);
}

/**
 * Passes the bytes of a blob on and checks them on their way. Throws at the first byte too many, and after the last one
 * if the size or the digest differs: whoever consumes it to its end has had exactly what the descriptor names.
 */
export async function* verified(
  source: AsyncIterable<Uint8Array>,
  descriptor: BlobDescriptor,
): AsyncGenerator<Uint8Array, void, undefined> {
  const hash = createHash("sha256");
  let size = 0;
  for await (const chunk of source) {
    size += chunk.length;
    if (size > descriptor.size) throw new Error(`is longer than ${descriptor.size} bytes`);
    hash.update(chunk);
    yield chunk;
  }
  if (size < descriptor.size) throw new Error(`ends after ${size} of ${descriptor.size} bytes`);
  const digest = `sha256:${hash.digest("hex")}`;
  if (digest !== descriptor.digest)
    throw new Error(`has the digest ${digest}; expected ${descriptor.digest}`);
}

/** A whole blob of at most `limit` bytes, checked. */
export async function readBlob(
  transport: Transport,
  descriptor: BlobDescriptor,
  limit: number,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  if (descriptor.size > limit) throw new Error(`has ${descriptor.size} bytes; at most ${limit}`);
  const chunks: Uint8Array[] = [];
  for await (const chunk of verified(transport.blob(descriptor, signal), descriptor))
    chunks.push(chunk);
  return new Uint8Array(Buffer.concat(chunks));
}
