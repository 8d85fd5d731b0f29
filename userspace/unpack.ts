/**
 * Decompresses what is compressed in any of the ways that kernels unpack an initramfs, piece by piece and without waiting.
 * gzip, zstd and lz4 are done here, the others by their programs.
 */
import { spawnSync } from "node:child_process";
import { constants, gunzipSync } from "node:zlib";
import { Gunzip } from "fflate";
import { LZ4_LEGACY_MAGIC, Lz4LegacyDecoder } from "../src/formats/lz4-legacy.ts";
import { ZstdFrames } from "../src/formats/zstd-frames.ts";
import { HintedError } from "../src/linux/hint.ts";
import { zstd } from "./zstd.ts";

/** What has more when it is decompressed is decompressed by the slower decoder, which need not hold all of it. */
const MAX_WHOLE = 1 << 26;
/** What the program of a format may print. */
const MAX_PRINTED = 1 << 29;
/** What the decoders are given at once; 1 KiB of gzip can become 1 MiB. */
const INPUT = 1 << 14;
/** The end of a compressed file may be zeros, which cannot be told from padding: at most so many. */
const MAX_END = 16;

interface Format {
  readonly name: string;
  readonly magic: readonly number[];
  readonly unpack: (data: Uint8Array) => Iterable<Uint8Array>;
}

const FORMATS: readonly Format[] = [
  { name: "gzip", magic: [0x1f, 0x8b], unpack: unpackGzip },
  { name: "zstd", magic: [0x28, 0xb5, 0x2f, 0xfd], unpack: unpackZstd },
  { name: "lz4", magic: LZ4_LEGACY_MAGIC, unpack: unpackLz4 },
  program("xz", "xz-utils", [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]),
  program("bzip2", "bzip2", [0x42, 0x5a, 0x68]),
  program("lzma", "xz-utils", [0x5d, 0x00, 0x00]),
];

function formatOf(data: Uint8Array): Format | undefined {
  return FORMATS.find(({ magic }) => magic.every((byte, i) => data[i] === byte));
}

/** Whether data begins as `unpack` takes it. */
export function isCompressed(data: Uint8Array): boolean {
  return formatOf(data) !== undefined;
}

/** The data; each piece is only good until the next one. Zeros may follow what is compressed. */
export function unpack(data: Uint8Array): Iterable<Uint8Array> {
  const format = formatOf(data);
  if (format === undefined) {
    const start = Buffer.from(data.subarray(0, 4)).toString("hex");
    throw new Error(`compressed in an unknown way: it begins with ${start}`);
  }
  return naming(format.name, format.unpack, data);
}

function* naming(name: string, unpack: Format["unpack"], data: Uint8Array): Generator<Uint8Array> {
  const pieces = unpack(data)[Symbol.iterator]();
  for (;;) {
    let next: IteratorResult<Uint8Array>;
    try {
      next = pieces.next();
    } catch (error) {
      throw new Error(name, { cause: error });
    }
    if (next.done) return;
    yield next.value;
  }
}

/** What node:zlib returns if it is told to give `info`. */
interface WithInfo {
  readonly buffer: Uint8Array;
  readonly engine: { readonly bytesWritten: number };
}

/** node:zlib ignores what follows. */
function requireZeros(data: Uint8Array, end: number): void {
  if (endOf(data) > end) throw new Error(`something else follows its ${end} bytes`);
}

function* unpackGzip(data: Uint8Array): Generator<Uint8Array> {
  let whole: Uint8Array | undefined;
  try {
    // whether it is cut off is seen by what is in it
    const finishFlush = constants.Z_SYNC_FLUSH;
    const options = { maxOutputLength: MAX_WHOLE, finishFlush, info: true };
    const { buffer, engine } = gunzipSync(data, options) as unknown as WithInfo;
    requireZeros(data, engine.bytesWritten);
    whole = buffer;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ERR_BUFFER_TOO_LARGE") throw error;
  }
  if (whole === undefined) yield* gunzipInPieces(data);
  else yield whole;
}

function* gunzipInPieces(data: Uint8Array): Generator<Uint8Array> {
  let out: Uint8Array[] = [];
  const decoder = new Gunzip((chunk) => {
    if (chunk.length > 0) out.push(chunk);
  });
  const end = endOf(data);
  for (let at = 0; at < end; at += INPUT) {
    decoder.push(data.slice(at, Math.min(at + INPUT, end)));
    yield* out;
    out = [];
  }
}

function* unpackZstd(data: Uint8Array): Generator<Uint8Array> {
  yield* zstd.decompressPieces(data.subarray(0, endOfFrames(data)), Number.MAX_SAFE_INTEGER);
}

/** Where the frames end: some of the zeros there may be theirs. */
function endOfFrames(data: Uint8Array): number {
  const least = endOf(data);
  for (let end = least; ; end++) {
    try {
      const frames = new ZstdFrames();
      frames.push(data.subarray(0, end));
      frames.end();
      return end;
    } catch (error) {
      if (end >= Math.min(data.length, least + MAX_END)) throw error;
    }
  }
}

function* unpackLz4(data: Uint8Array): Generator<Uint8Array> {
  const decoder = new Lz4LegacyDecoder();
  yield* decoder.push(data);
  decoder.end();
}

function program(name: string, packageName: string, magic: readonly number[]): Format {
  const unpack = (data: Uint8Array): Uint8Array[] => {
    const options = { input: data, maxBuffer: MAX_PRINTED };
    const { status, stdout, stderr, error } = spawnSync(name, ["-dc"], options);
    if (error !== undefined) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "ENOENT") {
        throw new HintedError(`the program ${name} is missing`, `apt install ${packageName}`);
      }
      if (code === "ENOBUFS") throw new Error(`more than ${MAX_PRINTED} bytes`);
      if (code !== "EPIPE") throw error; // it did not read all: it says why
    }
    if (status !== 0) throw new Error(stderr.toString().trim() || `exit status ${status}`);
    return [stdout];
  };
  return { name, magic, unpack };
}

/** The size without zeros at the end. */
function endOf(data: Uint8Array): number {
  let end = data.length;
  while (end > 0 && data[end - 1] === 0) end--;
  return end;
}
