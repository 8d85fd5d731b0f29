/**
 * A zstd:chunked layer of which only those parts are fetched that the repository lacks.
 *
 * The blob's own digest cannot be checked then, and need not be. The manifest, whose digest is known, has the digest of the
 * table of contents; that has the digest of every file, and of the tar-split. And all of it together, the tar archive,
 * must have the diff_id that the config states: who consumes `content` checks that as for any other layer. So what the
 * repository gets is what a whole pull would have brought, or nothing.
 */
import { createHash } from "node:crypto";
import { fromText } from "../../src/formats/bytestring.ts";
import type { Descriptor } from "../../src/formats/oci.ts";
import { type TarSplitEntry, TarSplitReader } from "../../src/formats/tar-split.ts";
import {
  type ByteRange,
  type ChunkedFile,
  type ChunkedLayout,
  type ChunkedSection,
  parseChunkedAnnotations,
  parseChunkedToc,
} from "../../src/formats/zstd-chunked.ts";
import {
  mayBeWorthwhile,
  type PartialPlan,
  type PlannedFile,
  planPartial,
} from "../../src/model/partial-plan.ts";
import { decompressZstd, zstd } from "../zstd.ts";
import type { ArchivePiece } from "./archive-pieces.ts";
import type { LocalContent, LocalContents } from "./local-contents.ts";
import { type FetchRange, RangeReader } from "./range-reader.ts";
import { type BlobDescriptor, NoRangesError, sha256Digest, type Transport } from "./transport.ts";

/** Frames that give at most so much are decompressed at once, in bytes. */
const AT_ONCE = 1 << 20;
/** The same for frames of which it is not known what they give, in compressed bytes. */
const AT_ONCE_COMPRESSED = 1 << 10;
/** What such frames may give at most. */
const MAX_FRAMING = AT_ONCE_COMPRESSED << 15;
/** Of a hole, in bytes. */
const ZEROS = 1 << 17;

/** A layer that is worth being fetched in part. */
export interface PartialLayer {
  /** Bytes of the blob that are fetched in all, those that were fetched already among them. */
  readonly bytes: number;
  /** The tar archive, in pieces of any size; bodies that the repository has are only named. To be consumed once, or not at all. Throws where what is fetched is not what was announced. */
  content(): AsyncGenerator<ArchivePiece, void, undefined>;
}

export interface PartialLayerOptions {
  readonly contents: LocalContents;
  /** Ends all that is still going on. */
  readonly signal: AbortSignal;
  /** More bytes have arrived. */
  received?(bytes: number): void;
}

/**
 * Finds out whether a layer can be fetched in part and should be: `undefined` if it is not zstd:chunked, or the registry
 * sends only whole blobs, or it is cheaper to fetch all. Throws for tables that make no sense, and what fetching throws.
 */
export async function openPartialLayer(
  transport: Transport,
  descriptor: BlobDescriptor & Partial<Pick<Descriptor, "annotations">>,
  options: PartialLayerOptions,
): Promise<PartialLayer | undefined> {
  if (transport.blobRange === undefined) return undefined;
  const layout = parseChunkedAnnotations(descriptor.annotations ?? {}, descriptor.size);
  if (layout === undefined || !mayBeWorthwhile(layout, descriptor.size)) return undefined;
  if (options.contents.isEmpty) return undefined;
  const fetch = fetcher(transport, descriptor, options);
  try {
    const bytes = await readSection(fetch, layout.toc, options.signal, "table of contents");
    const toc = parseChunkedToc(bytes, layout.data);
    const files = await findFiles(toc.files, options);
    const plan = planPartial(files, layout, descriptor.size);
    if (!plan.worthwhile) return undefined;
    const content = () =>
      archive(plan, withTarSplitDigest(layout, toc.tarSplitDigest), fetch, options);
    return { bytes: plan.bytes, content };
  } catch (error) {
    if (error instanceof NoRangesError) return undefined;
    throw error;
  }
}

function fetcher(
  transport: Transport,
  descriptor: BlobDescriptor,
  { received }: PartialLayerOptions,
): FetchRange {
  return async function* (range, signal) {
    for await (const chunk of transport.blobRange!(descriptor, range, signal)) {
      received?.(chunk.length);
      yield chunk;
    }
  };
}

/** What the table of contents says counts; older ones say nothing, but the annotations do. */
function withTarSplitDigest(layout: ChunkedLayout, digest: string | undefined): ChunkedLayout {
  const { tarSplit } = layout;
  if (tarSplit === undefined || digest === undefined) return layout;
  return { ...layout, tarSplit: { ...tarSplit, digest } };
}

async function findFiles(
  files: readonly ChunkedFile[],
  { contents, signal }: PartialLayerOptions,
): Promise<PlannedFile<LocalContent>[]> {
  const planned: PlannedFile<LocalContent>[] = [];
  for (const file of files) {
    const { name, size, digest, start, end } = file;
    const local = await contents.find({ name, size, digest, cost: end - start }, signal);
    planned.push({ file, local });
  }
  return planned;
}

/** Fetches a section and checks its digest. Still compressed. */
async function fetchSection(
  fetch: FetchRange,
  section: ChunkedSection,
  signal: AbortSignal,
  name: string,
): Promise<Uint8Array> {
  const reader = new RangeReader(fetch, [section], signal);
  const pieces: Uint8Array[] = [];
  try {
    for await (const piece of reader.take(section)) pieces.push(piece);
  } finally {
    reader.close();
  }
  const bytes = Buffer.concat(pieces);
  const digest = sha256Digest(bytes);
  if (section.digest !== undefined && digest !== section.digest)
    throw new Error(`${name}: has the digest ${digest}; expected ${section.digest}`);
  return bytes;
}

async function readSection(
  fetch: FetchRange,
  section: ChunkedSection,
  signal: AbortSignal,
  name: string,
): Promise<Uint8Array> {
  const bytes = await fetchSection(fetch, section, signal, name);
  try {
    return requireSize(zstd.decompress(bytes, section.size), section.size);
  } catch (error) {
    throw new Error(name, { cause: error });
  }
}

function requireSize(bytes: Uint8Array, size: number): Uint8Array {
  if (bytes.length === size) return bytes;
  throw new Error(`${bytes.length} bytes when decompressed; expected ${size}`);
}

/** The archive: from the tar-split, or else from the blob itself, with the contents of the files in their places. */
async function* archive(
  plan: PartialPlan<LocalContent>,
  { data, tarSplit }: ChunkedLayout,
  fetch: FetchRange,
  { signal }: PartialLayerOptions,
): AsyncGenerator<ArchivePiece, void, undefined> {
  const split =
    tarSplit === undefined ? undefined : await fetchSection(fetch, tarSplit, signal, "tar-split");
  const reader = new RangeReader(fetch, plan.fetches, signal);
  const files = plan.files[Symbol.iterator]();
  try {
    if (split === undefined) {
      let at = data.start;
      for (const planned of files) {
        yield* frames(reader, { start: at, end: planned.file.start });
        yield* body(planned, reader);
        at = planned.file.end;
      }
      yield* frames(reader, { start: at, end: data.end });
      return;
    }
    for await (const entry of tarSplitEntries(split, tarSplit!.size)) {
      if (entry.type === "segment") yield entry.bytes;
      else if (entry.size > 0) yield* body(requireSame(files.next().value, entry), reader);
    }
    const { value } = files.next();
    if (value !== undefined) throw new Error(`tar-split: lacks ${JSON.stringify(value.file.name)}`);
  } finally {
    reader.close();
  }
}

async function* tarSplitEntries(
  compressed: Uint8Array,
  size: number,
): AsyncGenerator<TarSplitEntry, void, undefined> {
  const reader = new TarSplitReader();
  let left = size;
  try {
    for await (const chunk of decompressZstd(once(compressed))) {
      left -= chunk.length;
      if (left < 0) throw new Error(`more than ${size} bytes when decompressed`);
      yield* reader.push(chunk);
    }
    yield* reader.end();
  } catch (error) {
    throw new Error("tar-split", { cause: error });
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}

/** The file of the table of contents that an entry of the tar-split is about. */
function requireSame(
  planned: PlannedFile<LocalContent> | undefined,
  entry: Extract<TarSplitEntry, { type: "file" }>,
): PlannedFile<LocalContent> {
  if (planned === undefined)
    throw new Error("tar-split: has more files than the table of contents");
  const { name, size } = planned.file;
  // bytes that are no UTF-8 have become U+FFFD in the one, and are whole in the other
  const sameName = name.includes("\ufffd") || fromText(name) === entry.name;
  if (!sameName || size !== entry.size)
    throw new Error(
      `tar-split: has another file where the table of contents has ${JSON.stringify(name)} of ${size} bytes`,
    );
  return planned;
}

/** The content of a file, from the repository or else from the blob, with its digest. */
async function* body(
  { file, local }: PlannedFile<LocalContent>,
  reader: RangeReader,
): AsyncGenerator<ArchivePiece, void, undefined> {
  if (local !== undefined) {
    yield local.type === "object" ? local : local.data;
    return;
  }
  const hash = createHash("sha256");
  try {
    for (const part of file.parts) {
      for await (const piece of part.type === "zeros"
        ? zeros(part.size)
        : frames(reader, part, part.size)) {
        hash.update(piece);
        yield piece;
      }
    }
  } catch (error) {
    throw new Error(JSON.stringify(file.name), { cause: error });
  }
  const digest = `sha256:${hash.digest("hex")}`;
  if (digest !== file.digest)
    throw new Error(
      `${JSON.stringify(file.name)}: has the digest ${digest}; the table of contents states ${file.digest}`,
    );
}

/** The data of whole frames; if `size` is given, they must give as much. */
async function* frames(
  reader: RangeReader,
  range: ByteRange,
  size?: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  const length = range.end - range.start;
  if (length === 0) return;
  const limit = size ?? Number.POSITIVE_INFINITY;
  if (limit <= AT_ONCE || (size === undefined && length <= AT_ONCE_COMPRESSED)) {
    const pieces: Uint8Array[] = [];
    for await (const piece of reader.take(range)) pieces.push(piece);
    const compressed = pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
    const data = zstd.decompress(compressed, size ?? MAX_FRAMING);
    yield size === undefined ? data : requireSize(data, size);
    return;
  }
  let total = 0;
  for await (const chunk of decompressZstd(reader.take(range))) {
    total += chunk.length;
    if (total > limit) throw new Error(`more than ${limit} bytes when decompressed`);
    yield chunk;
  }
  if (size !== undefined && total < size)
    throw new Error(`${total} bytes when decompressed; expected ${size}`);
}

function* zeros(size: number): Generator<Uint8Array, void, undefined> {
  for (let left = size; left > 0; left -= ZEROS) yield new Uint8Array(Math.min(left, ZEROS));
}
