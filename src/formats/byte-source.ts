/** Files of any size, of which only parts are read: where they are, and their bytes. */

/** Bytes of a file: from `start` on, up to `end`, which is not part of it. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/** A file that is read at any offset. */
export interface ByteSource {
  /** In bytes. */
  readonly size: number;
  /** Bytes of it; never asked for more than there is. Fewer than that mean that the file has been cut off. */
  read(range: ByteRange): Uint8Array;
}

/** How much is read at once. */
const CHUNK = 1 << 20;

/** How many bytes a range has. */
export function lengthOf({ start, end }: ByteRange): number {
  return end - start;
}

/** What is in memory already. */
export function sourceOf(bytes: Uint8Array): ByteSource {
  return { size: bytes.length, read: ({ start, end }) => bytes.subarray(start, end) };
}

/** All bytes of a range. What is not all there is an error. */
export function readRange(source: ByteSource, range: ByteRange): Uint8Array {
  const { start, end } = range;
  if (start < 0 || end < start || end > source.size) {
    throw new Error(`offset ${start}: ${end - start} bytes, where ${source.size} are in the file`);
  }
  const bytes = source.read(range);
  if (bytes.length === end - start) return bytes;
  throw new Error(`offset ${start + bytes.length}: the file has been cut off`);
}

/** The bytes of ranges, one range after the other, in pieces; for what is too large to be in memory. */
export function* readPieces(
  source: ByteSource,
  ranges: Iterable<ByteRange>,
): Generator<Uint8Array> {
  for (const { start, end } of ranges) {
    for (let at = start; at < end; at += CHUNK) {
      yield readRange(source, { start: at, end: Math.min(at + CHUNK, end) });
    }
  }
}
