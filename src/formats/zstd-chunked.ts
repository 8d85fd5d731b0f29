/**
 * zstd:chunked layers, as containers/storage writes them (its `pkg/chunked`): zstd of a tar archive in which the content of
 * every file has frames of its own, so that a file can be fetched alone. Behind the data, in skippable frames, are a table of
 * contents and, in newer ones, the rest of the archive as tar-split. Annotations of the layer say where.
 *
 * Nothing here is believed for more than where to look: what is put together must have the layer's diff_id.
 */

import { type ByteRange, lengthOf } from "./byte-source.ts";
import { type JsonObject, parseJson } from "./json-document.ts";
import { splitList } from "./json-list.ts";
import { isDigest } from "./oci.ts";

export type { ByteRange } from "./byte-source.ts";

/** How the names of the annotations begin: today, and in Podman 4 and its kin. */
const [PREFIX, OLD_PREFIX] = ["io.github.containers.zstd-chunked.", "io.containers.zstd-chunked."];

const annotationNames = (prefix: string) => ({
  /** Digest of the table of contents, compressed. */
  tocDigest: `${prefix}manifest-checksum`,
  /** `offset:compressed size:size:type` of the table of contents. */
  tocPosition: `${prefix}manifest-position`,
  /** `offset:compressed size:size` of the tar-split. */
  tarSplitPosition: `${prefix}tarsplit-position`,
  /** Digest of the tar-split, compressed, where the table of contents does not state it. */
  tarSplitDigest: `${prefix}tarsplit-checksum`,
});

type AnnotationNames = ReturnType<typeof annotationNames>;

export const CHUNKED_ANNOTATIONS = annotationNames(PREFIX);
export const OLD_CHUNKED_ANNOTATIONS = annotationNames(OLD_PREFIX);

/** The only type and version of a table of contents. */
const TOC_TYPE = 1;
const TOC_VERSION = 1;
/** Largest entry of it, in bytes: they have extended attributes, too. */
const MAX_ENTRY = 1 << 20;
/** Largest table of contents that is read, in bytes, decompressed; as such it is held in memory. */
const MAX_TOC = 32 << 20;
/** Largest tar-split that is read, in bytes, compressed; as such it is held in memory. */
const MAX_TAR_SPLIT = 16 << 20;
/** Magic number and size of the frame that hides something from decoders. */
const SKIPPABLE_HEADER = 8;
/** zstd makes at most 128 KiB of four bytes: so much can be made of one. */
const MAX_EXPANSION = (128 << 10) / 4;

/** Something that a layer carries for those who read only parts of it. */
export interface ChunkedSection extends ByteRange {
  /** When it is decompressed, in bytes. */
  readonly size: number;
  /** Of the compressed bytes, if the annotations state it. */
  readonly digest: string | undefined;
}

/** Where a zstd:chunked layer has what. */
export interface ChunkedLayout {
  /** The frames of the archive. */
  readonly data: ByteRange;
  readonly toc: ChunkedSection & { readonly digest: string };
  /** Older writers made none. */
  readonly tarSplit: ChunkedSection | undefined;
}

/** A piece of a file's content. */
export type ChunkedPart =
  | { readonly type: "zeros"; readonly size: number }
  /** Whole frames, which give `size` bytes. */
  | ({ readonly type: "frames"; readonly size: number } & ByteRange);

/** A file that is not empty. */
export interface ChunkedFile extends ByteRange {
  /** As in the archive; bytes that were no UTF-8 are lost. */
  readonly name: string;
  readonly size: number;
  /** `sha256:…` of its content. */
  readonly digest: string;
  /** What it consists of, in order; adjacent frames are one part. */
  readonly parts: readonly ChunkedPart[];
}

export interface ChunkedToc {
  /** In the order of the archive. */
  readonly files: readonly ChunkedFile[];
  /** Digest of the tar-split, compressed. */
  readonly tarSplitDigest: string | undefined;
}

/**
 * Reads the annotations of a layer of `blobSize` bytes; `undefined` if it is not zstd:chunked. Errors name the annotation:
 * positions that are no numbers, or not inside the blob, or too large to be read.
 */
export function parseChunkedAnnotations(
  annotations: Readonly<Record<string, string>>,
  blobSize: number,
): ChunkedLayout | undefined {
  const names = [CHUNKED_ANNOTATIONS, OLD_CHUNKED_ANNOTATIONS].find(
    ({ tocDigest }) => annotations[tocDigest] !== undefined,
  );
  if (names === undefined) return undefined;
  const digest = annotations[names.tocDigest]!;
  requireDigest(digest, names.tocDigest);
  const position = annotations[names.tocPosition] ?? "";
  const type = parsePosition(position, 4, names.tocPosition)[3];
  if (type !== TOC_TYPE)
    throw new Error(`${names.tocPosition}: type ${type}; expected ${TOC_TYPE}`);
  const toc = parseSection(position, 4, names.tocPosition, blobSize, digest);
  requireAtMost(Math.max(toc.size, lengthOf(toc)), MAX_TOC, names.tocPosition);
  const tarSplit = parseTarSplit(annotations, names, blobSize);
  const end = Math.min(toc.start, tarSplit?.start ?? toc.start) - SKIPPABLE_HEADER;
  return { data: { start: 0, end }, toc: { ...toc, digest }, tarSplit };
}

function parseTarSplit(
  annotations: Readonly<Record<string, string>>,
  names: AnnotationNames,
  blobSize: number,
): ChunkedSection | undefined {
  const name = names.tarSplitPosition;
  const position = annotations[name];
  if (position === undefined) return undefined;
  const digest = annotations[names.tarSplitDigest];
  if (digest !== undefined) requireDigest(digest, names.tarSplitDigest);
  const section = parseSection(position, 3, name, blobSize, digest);
  requireAtMost(lengthOf(section), MAX_TAR_SPLIT, name);
  return section;
}

function requireAtMost(size: number, limit: number, name: string): void {
  if (size > limit) throw new Error(`${name}: ${size} bytes; expected at most ${limit}`);
}

/** So many numbers, with colons between them. */
function parsePosition(text: string, count: number, name: string): number[] {
  const numbers = text.split(":").map((part) => (/^[0-9]{1,15}$/.test(part) ? Number(part) : -1));
  if (numbers.length !== count || numbers.includes(-1))
    throw new Error(
      `${name}: ${JSON.stringify(text.slice(0, 80))}; expected ${count} numbers with ":" between them`,
    );
  return numbers;
}

function parseSection(
  text: string,
  count: number,
  name: string,
  blobSize: number,
  digest: string | undefined,
): ChunkedSection {
  const [start, length, size] = parsePosition(text, count, name) as [number, number, number];
  const end = start + length;
  if (start < SKIPPABLE_HEADER || length === 0 || end > blobSize)
    throw new Error(`${name}: bytes ${start} to ${end} of a blob of ${blobSize} bytes`);
  requirePlausible({ start, end }, size, name);
  return { start, end, size, digest };
}

function requirePlausible(range: ByteRange, size: number, name: string): void {
  if (size > lengthOf(range) * MAX_EXPANSION)
    throw new Error(`${name}: ${lengthOf(range)} bytes of zstd that shall give ${size}`);
}

function requireDigest(text: string, name: string): void {
  if (!isDigest(text))
    throw new Error(
      `${name}: ${JSON.stringify(text.slice(0, 80))}; expected sha256: and 64 lower-case hex digits`,
    );
}

/** A file, and the chunks that follow it until the next one. */
interface OpenFile {
  readonly place: string;
  readonly name: string;
  readonly size: number;
  readonly digest: string;
  readonly start: number;
  readonly end: number;
  /** Where each chunk begins: in the file, and in the blob. */
  readonly chunks: { offset: number; size: number; zeros: boolean; start: number }[];
}

/**
 * Parses a table of contents, decompressed. `data` is where the archive's frames are. Errors name the entry: files that
 * overlap or lie elsewhere, chunks that leave gaps, sizes that no such frames can give.
 */
export function parseChunkedToc(bytes: Uint8Array, data: ByteRange): ChunkedToc {
  const files: ChunkedFile[] = [];
  let open: OpenFile | undefined;
  let count = 0;
  const rest = splitList(bytes, "entries", (element) => {
    const place = `table of contents: entries[${count++}]`;
    const entry = parseJson(element, place, MAX_ENTRY);
    const type = entry.string("type");
    if (type === "chunk") {
      if (open === undefined || entry.string("name") !== open.name)
        throw new Error(`${place}: a chunk of no file`);
      open.chunks.push(readChunk(entry));
      return;
    }
    if (open !== undefined) files.push(closeFile(open));
    open = type === "reg" ? openFile(entry, place) : undefined;
  });
  if (open !== undefined) files.push(closeFile(open));

  const document = parseJson(rest, "table of contents", MAX_TOC);
  if (document.objects("entries").length > 0)
    document.fail("entries", "expected a name without escapes");
  const version = document.size("version");
  if (version !== TOC_VERSION) document.fail("version", `${version}; expected ${TOC_VERSION}`);
  const tarSplitDigest = document.optionalString("tarSplitDigest") || undefined;
  if (tarSplitDigest !== undefined)
    requireDigest(tarSplitDigest, "table of contents: tarSplitDigest");

  files.sort((a, b) => a.start - b.start);
  let at = data.start;
  for (const { name, start, end } of files) {
    if (start < at || end > data.end)
      throw new Error(
        `table of contents: ${JSON.stringify(name.slice(0, 200))}: bytes ${start} to ${end}; expected some between ${at} and ${data.end}`,
      );
    at = end;
  }
  return { files, tarSplitDigest };
}

/** `undefined` for an empty file. */
function openFile(entry: JsonObject, place: string): OpenFile | undefined {
  const size = sizeOr0(entry, "size");
  if (size === 0) return undefined;
  const name = entry.string("name");
  const digest = entry.string("digest");
  requireDigest(digest, `${place}: digest`);
  const start = entry.size("offset");
  const end = entry.size("endOffset");
  return { place, name, size, digest, start, end, chunks: [readChunk(entry)] };
}

function readChunk(entry: JsonObject): OpenFile["chunks"][number] {
  const type = entry.optionalString("chunkType") ?? "";
  if (type !== "" && type !== "zeros") entry.fail("chunkType", 'expected "zeros" or nothing');
  return {
    offset: sizeOr0(entry, "chunkOffset"),
    size: sizeOr0(entry, "chunkSize"),
    zeros: type === "zeros",
    start: entry.size("offset"),
  };
}

function closeFile({ place, name, size, digest, start, end, chunks }: OpenFile): ChunkedFile {
  const parts: ChunkedPart[] = [];
  let offset = 0;
  for (const [index, chunk] of chunks.entries()) {
    const next = chunks[index + 1];
    const range = { start: chunk.start, end: next?.start ?? end };
    const length = (next?.offset ?? size) - chunk.offset;
    const fail = (why: string) =>
      new Error(`${place}: ${JSON.stringify(name.slice(0, 200))}, chunk ${index + 1}: ${why}`);
    if (chunk.offset !== offset || length <= 0 || (chunk.size !== 0 && chunk.size !== length))
      throw fail(
        `${chunk.size} bytes at ${chunk.offset} of ${size}; expected those from ${offset}`,
      );
    if (range.end <= range.start) throw fail(`bytes ${range.start} to ${range.end} of the blob`);
    requirePlausible(range, length, `${place}: ${JSON.stringify(name.slice(0, 200))}`);
    const last = parts.at(-1);
    if (chunk.zeros) parts.push({ type: "zeros", size: length });
    else if (last?.type !== "frames") parts.push({ type: "frames", size: length, ...range });
    else parts[parts.length - 1] = { ...last, size: last.size + length, end: range.end };
    offset += length;
  }
  return { name, size, digest, start, end, parts };
}

/** A number that encoders leave out when it is 0. */
function sizeOr0(entry: JsonObject, key: string): number {
  return entry.has(key) ? entry.size(key) : 0;
}
