/** The layers of an image, several at a time, from a transport into the repository. */
import { availableParallelism } from "node:os";
import { decompress, layerCompression } from "../decompress.ts";
import type { Repository } from "../repository/repository.ts";
import { BlobImport } from "./blob.ts";
import { addStats, type ImportStats, LayerImport, noStats } from "./layer.ts";
import { type BlobDescriptor, type Transport, verified } from "./transport.ts";

/** So much of a layer that turns out to be damaged is still fetched, to see whether its digest is wrong, in bytes. */
const REST_LIMIT = 16 * 1024 * 1024;

/** A layer that has to be fetched. */
export interface LayerWork {
  /** Place in the manifest, from 0. */
  readonly index: number;
  readonly descriptor: BlobDescriptor;
  /** Digest of the uncompressed tar. */
  readonly diffId: string;
  /** Kept as it is, whatever it holds: an artifact's. The diffId is the blob's own digest then. */
  readonly asIs?: boolean;
}

/** Told about layers on their way. */
export interface LayerProgress {
  /** More bytes of a layer have arrived. */
  received?(index: number, bytes: number): void;
  /** A layer is stored. */
  stored?(index: number): void;
}

/**
 * Fetches and stores layers, the largest first, as many at once as there are processors.
 *
 * The first failure ends all the others and is thrown, naming the layer; what is unfinished is dropped.
 */
export async function importLayers(
  repository: Repository,
  transport: Transport,
  layers: readonly LayerWork[],
  progress: LayerProgress = {},
): Promise<ImportStats> {
  const queue = layers.toSorted((a, b) => b.descriptor.size - a.descriptor.size);
  const stats = noStats();
  const controller = new AbortController();
  const worker = async () => {
    for (let work = queue.shift(); work !== undefined; work = queue.shift()) {
      controller.signal.throwIfAborted();
      try {
        addStats(
          stats,
          await importLayer(repository, transport, work, progress, controller.signal),
        );
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
  };
  const workers = Array.from({ length: Math.min(availableParallelism(), queue.length) }, worker);
  // all of them, so that nothing is written any more when this returns
  await Promise.allSettled(workers);
  controller.signal.throwIfAborted();
  return stats;
}

async function importLayer(
  repository: Repository,
  transport: Transport,
  { index, descriptor, diffId, asIs = false }: LayerWork,
  progress: LayerProgress,
  outer: AbortSignal,
): Promise<ImportStats> {
  const compression = asIs ? "none" : layerCompression(descriptor.mediaType);
  if (compression === undefined)
    throw new Error(`has the media type ${descriptor.mediaType}; expected a tar layer`);
  const layer = asIs ? new BlobImport(repository, diffId) : new LayerImport(repository, diffId);
  const failed = new AbortController();
  const signal = AbortSignal.any([outer, failed.signal]);
  const blob = verified(transport.blob(descriptor, signal), descriptor);
  let left = descriptor.size;
  const received = counted(blob, (bytes) => {
    left -= bytes;
    progress.received?.(index, bytes);
  });
  try {
    try {
      for await (const chunk of decompress(received, compression)) {
        layer.write(chunk);
        signal.throwIfAborted();
      }
    } catch (error) {
      // What makes no sense is seldom what was asked for, and then it is the digest that says so.
      if (!outer.aborted && left <= REST_LIMIT) await drain(received);
      throw error;
    }
    // A decoder stops at the end of its data; the blob's digest covers what follows, too.
    await drain(received);
    layer.finish();
    return layer.stats;
  } catch (error) {
    layer.abort();
    failed.abort(); // whoever waits for more of the blob need not
    await blob.return().catch(() => {});
    throw error;
  }
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
