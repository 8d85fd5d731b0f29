/** Decompression of layers, by the media type that the manifest gives them. */
import { pipeline, Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { decompressZstd } from "./zstd.ts";

export type Compression = "none" | "gzip" | "zstd";

const OUTPUT_CHUNK = 1 << 16;
/** How many pieces are fetched before they can be used, besides what a decoder works on. */
const READ_AHEAD = { highWaterMark: 1 };

/**
 * Media types of tar layers: OCI's, Docker's, and the retired ones for layers that are fetched from elsewhere. OCI adds
 * `+gzip`, Docker `.gzip`.
 */
const TAR_LAYER =
  /^application\/vnd\.(?:oci\.image\.layer\.(?:nondistributable\.)?v1\.tar|docker\.image\.rootfs\.(?:foreign\.)?diff\.tar)(?:[+.](gzip|zstd))?$/;

/** How a tar layer of this media type is compressed; `undefined` if it is no tar layer. */
export function layerCompression(mediaType: string): Compression | undefined {
  const match = TAR_LAYER.exec(mediaType);
  return match === null ? undefined : ((match[1] ?? "none") as Compression);
}

/** How data is compressed, by its first bytes; no file name at the start of a tar archive looks like that. */
export function detectCompression(start: Uint8Array): Compression {
  const [a, b, c, d] = start;
  if (a === 0x1f && b === 0x8b) return "gzip";
  if (a === 0x28 && b === 0xb5 && c === 0x2f && d === 0xfd) return "zstd";
  return "none";
}

/**
 * Decompresses bytes as they arrive: gzip of one or more members, zstd of one or more frames.
 * Throws what the source throws, and an error if the data is damaged or cut off.
 */
export async function* decompress(
  source: AsyncIterable<Uint8Array>,
  compression: Compression,
): AsyncGenerator<Uint8Array> {
  switch (compression) {
    case "none":
      yield* source;
      return;
    case "gzip": {
      const decoder = createGunzip({ chunkSize: OUTPUT_CHUNK });
      pipeline(Readable.from(source, READ_AHEAD), decoder, () => {});
      yield* decoder;
      return;
    }
    case "zstd":
      yield* decompressZstd(source);
  }
}
