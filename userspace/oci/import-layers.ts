/** The layers of an image, several at a time, from a transport into the repository. */
import { availableParallelism } from "node:os";
import { setFlagsFromString } from "node:v8";
import { layerCompression } from "../decompress.ts";
import { nodePlatform } from "../repository/node-platform.ts";
import type { Repository } from "../repository/repository.ts";
import { importPartially } from "./import-partial.ts";
import { addStats, type ImportStats, noStats } from "./layer.ts";
import { LayerThread } from "./layer-thread.ts";
import type { LayerProgress, LayerWork } from "./layer-work.ts";
import { LocalContents } from "./local-contents.ts";
import { type LayerStore, layerStoreHere } from "./store-layer.ts";
import { type Transport, type UnpackedLayer, verified } from "./transport.ts";

export type { LayerProgress, LayerWork };

/** So much of a layer that turns out to be damaged is still fetched, to see whether its digest is wrong, in bytes. */
const REST_LIMIT = 16 * 1024 * 1024;
/** Each takes about 40 MiB, and a pull shall never take 300. */
const MAX_THREADS = 2;
/** Fewer bytes than this are stored faster than a thread starts. */
const WORTH_THREADS = 1 << 22;

export interface ImportOptions {
  readonly progress?: LayerProgress;
  /** Threads that store layers; 0: all of it happens on this one. If not given, what is worth it. */
  readonly threads?: number;
}

/**
 * Fetches and stores layers, the largest first, several at once.
 *
 * This thread fetches and checks what it fetches; decompression, hashing and writing go on at the same time on others,
 * which have the repository open themselves. Of zstd:chunked layers only what the repository lacks is fetched, where that
 * is cheaper.
 *
 * The first failure ends all the others and is thrown, naming the layer; what is unfinished is dropped.
 */
export async function importLayers(
  repository: Repository,
  transport: Transport,
  layers: readonly LayerWork[],
  { progress = {}, threads = suitableThreads(repository, layers) }: ImportOptions = {},
): Promise<ImportStats> {
  const queue = layers.toSorted((a, b) => b.descriptor.size - a.descriptor.size);
  const stats = noStats();
  const contents = new LocalContents(repository);
  const controller = new AbortController();
  const worker = async () => {
    const store = threads > 0 ? new LayerThread(repository) : layerStoreHere(repository);
    try {
      for (let work = queue.shift(); work !== undefined; work = queue.shift()) {
        controller.signal.throwIfAborted();
        try {
          const { signal } = controller;
          const partial =
            work.asIs === true
              ? undefined
              : await importPartially(work, { store, transport, contents, progress, signal });
          addStats(stats, partial ?? (await importLayer(store, transport, work, progress, signal)));
        } catch (error) {
          controller.signal.throwIfAborted(); // stopped because of another one
          const failure = new Error(`layer ${work.index + 1} (${work.descriptor.digest})`, {
            cause: error,
          });
          controller.abort(failure);
          throw failure;
        }
        progress.stored?.(work.index);
      }
    } finally {
      await store.close();
    }
  };
  const width = Math.min(threads || availableParallelism(), queue.length);
  // all of them, so that nothing is written any more when this returns
  await withSmallYoungSpace(() => Promise.allSettled(Array.from({ length: width }, worker)));
  controller.signal.throwIfAborted();
  return stats;
}

/**
 * Keeps the collector's space for young objects from growing while `action` runs. What is allocated meanwhile are mostly
 * buffers of what arrives, which are not in that space: the sooner it fills up, the sooner they go. 50 MiB less at most.
 */
async function withSmallYoungSpace<T>(action: () => Promise<T>): Promise<T> {
  setFlagsFromString("--semi-space-growth-factor=1");
  try {
    return await action();
  } finally {
    setFlagsFromString("--semi-space-growth-factor=2"); // V8's own
  }
}

/** Threads can only open a repository that stands on the system itself; and starting one costs more than a few files. */
function suitableThreads(repository: Repository, layers: readonly LayerWork[]): number {
  if (repository.files.platform !== nodePlatform) return 0;
  const size = layers.reduce((sum, { descriptor }) => sum + descriptor.size, 0);
  return size < WORTH_THREADS ? 0 : Math.min(availableParallelism(), MAX_THREADS);
}

async function importLayer(
  store: LayerStore,
  transport: Transport,
  work: LayerWork,
  progress: LayerProgress,
  outer: AbortSignal,
): Promise<ImportStats> {
  const { index, descriptor, diffId, asIs = false } = work;
  const unpacked = asIs ? undefined : transport.unpacked?.(diffId);
  if (unpacked !== undefined) return importUnpacked(store, unpacked, work, progress, outer);
  const compression = asIs ? "none" : layerCompression(descriptor.mediaType);
  if (compression === undefined)
    throw new Error(`has the media type ${descriptor.mediaType}; expected a tar layer`);
  const failed = new AbortController();
  const signal = AbortSignal.any([outer, failed.signal]);
  const blob = verified(transport.blob(descriptor, signal), descriptor);
  let left = descriptor.size;
  const received = counted(blob, (bytes) => {
    outer.throwIfAborted();
    left -= bytes;
    progress.received?.(index, bytes);
  });
  try {
    return await store.store({ diffId, compression, asIs }, received);
  } catch (error) {
    try {
      // What makes no sense is seldom what was asked for, and then it is the digest that says so.
      if (!outer.aborted && left <= REST_LIMIT) await drain(received);
      throw error;
    } finally {
      failed.abort(); // whoever waits for more of the blob need not
      await blob.return().catch(() => {});
    }
  }
}

/** A layer without its blob: the diff_id alone says whether it is right. Progress is told as if its blob came in. */
function importUnpacked(
  store: LayerStore,
  { tarSplit, compression, size, files }: UnpackedLayer,
  { index, descriptor, diffId }: LayerWork,
  progress: LayerProgress,
  outer: AbortSignal,
): Promise<ImportStats> {
  let read = 0;
  let reported = 0;
  const source = counted(tarSplit(), (bytes) => {
    outer.throwIfAborted();
    read += bytes;
    const share = Math.floor(descriptor.size * Math.min(1, read / size));
    progress.received?.(index, share - reported);
    reported = share;
  });
  return store.store({ diffId, compression, asIs: false, files }, source);
}

async function drain(source: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const _ of source);
}

/** The same bytes, reported as they pass. Whoever stops early does not end the source: it can be read on. */
function counted(
  source: AsyncGenerator<Uint8Array>,
  report: (bytes: number) => void,
): AsyncIterable<Uint8Array> {
  const next = async () => {
    const result = await source.next();
    if (result.done !== true) report(result.value.length);
    return result;
  };
  return { [Symbol.asyncIterator]: () => ({ next }) };
}
