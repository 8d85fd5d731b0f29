/** Compression of layers, the counterpart of `decompress`. */
import { pipeline, Readable, type Transform } from "node:stream";
import zlib from "node:zlib";
import type { Compression } from "./decompress.ts";
import { zstd } from "./zstd.ts";

const OUTPUT_CHUNK = 1 << 17;
/** Without zstd in node:zlib, so many bytes become a frame each, which bounds the memory. */
const FRAME_INPUT = 1 << 20;

/** Compresses bytes as they arrive, at the usual level. Throws what the source throws. */
export async function* compress(
  source: AsyncIterable<Uint8Array>,
  compression: Compression,
): AsyncGenerator<Uint8Array> {
  if (compression === "none") yield* source;
  else if (compression === "gzip")
    yield* through(source, zlib.createGzip({ chunkSize: OUTPUT_CHUNK }));
  else if (typeof zlib.createZstdCompress === "function")
    yield* through(source, zlib.createZstdCompress({ chunkSize: OUTPUT_CHUNK }));
  else yield* zstdFrames(source);
}

async function* through(
  source: AsyncIterable<Uint8Array>,
  encoder: Transform,
): AsyncGenerator<Uint8Array> {
  // pipeline destroys all of it when any of it fails or the reader stops; the error arrives there.
  pipeline(Readable.from(source, { objectMode: false }), encoder, () => {});
  yield* encoder;
}

async function* zstdFrames(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let pieces: Uint8Array[] = [];
  let size = 0;
  let frames = 0;
  const frame = () => {
    const data = Buffer.concat(pieces, size);
    pieces = [];
    size = 0;
    frames++;
    return zstd.compress(data);
  };
  for await (const chunk of source) {
    pieces.push(chunk);
    size += chunk.length;
    if (size >= FRAME_INPUT) yield frame();
  }
  if (size > 0 || frames === 0) yield frame();
}
