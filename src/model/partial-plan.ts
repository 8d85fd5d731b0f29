/**
 * Which bytes of a zstd:chunked layer to fetch when the content of some of its files is at hand, and whether that is
 * cheaper than all of it.
 */
import type { ByteRange, ChunkedFile, ChunkedLayout } from "../formats/zstd-chunked.ts";

/**
 * What a request costs besides the bytes that it brings, in bytes that could have come in that time: those of 50 ms at
 * 10 Mbit/s, or, as several requests are on their way at once, of 13 ms at 40 Mbit/s.
 */
const REQUEST_COST = 64 << 10;
/** Most that a single request asks for, in bytes. */
export const MAX_REQUEST = 2 << 20;
/** A partial pull must cost no more than so much of a whole one: it reads and hashes what is at hand besides. */
const WORTHWHILE = 3 / 4;

/** A file, and whatever stands for its content if that is at hand. */
export interface PlannedFile<Local> {
  readonly file: ChunkedFile;
  readonly local: Local | undefined;
}

export interface PartialPlan<Local> {
  /** In the order of the archive. */
  readonly files: readonly PlannedFile<Local>[];
  /** To be fetched: in order, apart from each other, none of them longer than `MAX_REQUEST`. */
  readonly fetches: readonly ByteRange[];
  /** Bytes to be fetched, with the table of contents and the tar-split. */
  readonly bytes: number;
  /** Whether it is cheaper than to fetch all. */
  readonly worthwhile: boolean;
}

/** Whether a layer of `blobSize` bytes can gain anything, if all of its content is at hand. Asked before anything is fetched. */
export function mayBeWorthwhile(layout: ChunkedLayout, blobSize: number): boolean {
  return isCheaper(tables(layout), [], blobSize);
}

/** Decides what to fetch. Without a tar-split, all that lies between the files must be, too. */
export function planPartial<Local>(
  files: readonly PlannedFile<Local>[],
  layout: ChunkedLayout,
  blobSize: number,
): PartialPlan<Local> {
  const needed: ByteRange[] = [];
  let at = layout.data.start;
  for (const { file, local } of files) {
    if (layout.tarSplit === undefined) needed.push({ start: at, end: file.start });
    at = file.end;
    if (local !== undefined) continue;
    for (const part of file.parts) if (part.type === "frames") needed.push(part);
  }
  if (layout.tarSplit === undefined) needed.push({ start: at, end: layout.data.end });

  const fetches = cutAt(coalesce(needed, REQUEST_COST), MAX_REQUEST);
  const bytes = tables(layout)
    .concat(fetches)
    .reduce((sum, range) => sum + lengthOf(range), 0);
  return { files, fetches, bytes, worthwhile: isCheaper(tables(layout), fetches, blobSize) };
}

/**
 * Joins ranges, which are in order, where less than `gap` bytes are between them: to fetch these costs less than another
 * request. Empty ranges are dropped.
 */
export function coalesce(ranges: readonly ByteRange[], gap: number): ByteRange[] {
  const joined: ByteRange[] = [];
  for (const { start, end } of ranges) {
    if (start === end) continue;
    const last = joined.at(-1);
    if (last === undefined || start - last.end >= gap) joined.push({ start, end });
    else joined[joined.length - 1] = { start: last.start, end };
  }
  return joined;
}

function cutAt(ranges: readonly ByteRange[], limit: number): ByteRange[] {
  return ranges.flatMap(({ start, end }) => {
    const pieces: ByteRange[] = [];
    for (let at = start; at < end; at += limit)
      pieces.push({ start: at, end: Math.min(end, at + limit) });
    return pieces;
  });
}

function tables({ toc, tarSplit }: ChunkedLayout): ByteRange[] {
  return tarSplit === undefined ? [toc] : [toc, tarSplit];
}

function isCheaper(
  tables: readonly ByteRange[],
  fetches: readonly ByteRange[],
  blobSize: number,
): boolean {
  const cost = [...tables, ...fetches].reduce(
    (sum, range) => sum + lengthOf(range) + REQUEST_COST,
    0,
  );
  return cost <= WORTHWHILE * (blobSize + REQUEST_COST);
}

function lengthOf({ start, end }: ByteRange): number {
  return end - start;
}
