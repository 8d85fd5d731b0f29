/**
 * zstd: node:zlib's where it has one (Node 22.15 and newer), else WebAssembly to compress and JavaScript to decompress.
 * Importing this module on an old Node loads the WebAssembly.
 */
import { pipeline, Readable } from "node:stream";
import zlib from "node:zlib";
import { Decompress } from "fzstd";
import type { Zstd } from "../src/formats/splitstream.ts";
import { measureFrame, ZstdFrames } from "../src/formats/zstd-frames.ts";

/** zstd's own default, which the reference implementation uses. */
const LEVEL = 3;
const OUTPUT_CHUNK = 1 << 17;
/** What the JavaScript decoder is given at once. A block of four bytes can become 128 KiB, so this bounds its memory. */
const SCRIPT_INPUT = 1 << 10;
/** The largest window that zstd itself takes if it is told nothing. */
const MAX_WINDOW = 1 << 27;
/** Frames that may have more than this are decompressed by the slower decoder, which need not hold all of it. */
const MAX_WHOLE = 1 << 26;

type Compress = (data: Uint8Array) => Uint8Array;

const native = typeof zlib.zstdDecompressSync === "function";

/** zstd for splitstreams. */
export const zstd: Zstd = {
  compress: native ? compressNative : await compressWebAssembly(),
  decompress(data, limit) {
    return Buffer.concat([...decompressPieces(data, limit)]);
  },
  decompressPieces,
};

function* decompressPieces(data: Uint8Array, limit: number): Generator<Uint8Array> {
  const frames = new ZstdFrames();
  const pieces = frames.push(data);
  frames.end();
  let size = 0;
  for (const frame of pieces) {
    const { window, most } = measureFrame(frame);
    if (window > MAX_WINDOW) {
      throw new Error(`zstd window of ${window} bytes, at most ${MAX_WINDOW}`);
    }
    // one byte more than there may be is refused below
    const options = { maxOutputLength: Math.min(limit - size, MAX_WHOLE) + 1 };
    for (const chunk of native && most <= MAX_WHOLE
      ? [zlib.zstdDecompressSync(frame, options)]
      : decompressInScript(frame)) {
      size += chunk.length;
      if (size > limit) throw new Error(`more than ${limit} bytes when decompressed`);
      yield chunk;
    }
  }
}

/** Decompresses zstd of any number of frames as it arrives. Throws if the data is cut off or is not zstd. */
export async function* decompressZstd(
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  if (native) {
    const decoder = zlib.createZstdDecompress({ chunkSize: OUTPUT_CHUNK });
    // pipeline destroys all of it when any of it fails or the reader of `decoder` stops; the error arrives there.
    pipeline(Readable.from(cutAtFrames(source), { highWaterMark: 1 }), decoder, () => {});
    yield* decoder;
  } else {
    const decode = scriptDecoder();
    for await (const piece of cutAtFrames(source)) yield* decode(piece);
    yield* decode();
  }
}

/** node:zlib decodes one frame per write and drops what follows in the same write: so each write is of one frame. */
async function* cutAtFrames(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const frames = new ZstdFrames();
  for await (const chunk of source) yield* frames.push(chunk);
  frames.end();
}

function compressNative(data: Uint8Array): Uint8Array {
  return zlib.zstdCompressSync(data, {
    params: { [zlib.constants.ZSTD_c_compressionLevel]: LEVEL },
  });
}

async function compressWebAssembly(): Promise<Compress> {
  const { Zstd } = await import("@hpcc-js/wasm-zstd");
  const wasm = await Zstd.load();
  return (data) => wasm.compress(data, LEVEL);
}

function* decompressInScript(frame: Uint8Array): Generator<Uint8Array> {
  const decode = scriptDecoder();
  yield* decode(frame);
  yield* decode();
}

/** Gives the data of more input, or, without an argument, what is left at the end: small frames wait for more input. */
function scriptDecoder(): (piece?: Uint8Array) => Generator<Uint8Array> {
  let out: Uint8Array[] = [];
  const decoder = new Decompress((chunk) => {
    if (chunk.length > 0) out.push(chunk);
  });
  return function* (piece) {
    if (piece === undefined) {
      decoder.push(new Uint8Array(0), true);
      yield* out;
      return;
    }
    for (let at = 0; at < piece.length; at += SCRIPT_INPUT) {
      decoder.push(piece.subarray(at, at + SCRIPT_INPUT));
      yield* out;
      out = [];
    }
  };
}
