/** Storing layers as their bytes arrive: what is done on whatever thread a layer is stored by. */
import { type Compression, decompress } from "../decompress.ts";
import type { Repository } from "../repository/repository.ts";
import { PieceReader } from "./archive-pieces.ts";
import { BlobImport } from "./blob.ts";
import { assembleLayer, type LayerFiles } from "./containers-storage/assemble.ts";
import { type ImportStats, LayerImport } from "./layer.ts";

/** What the bytes that arrive are. Plain data, which other threads can be sent. */
export interface LayerJob {
  /** Digest of the uncompressed tar, which is checked; of a blob that is kept as it is, its own, which is not. */
  readonly diffId: string;
  /** How the tar is compressed. */
  readonly compression: Compression;
  /** Not a tar, but a blob that is kept as it is. */
  readonly asIs: boolean;
  /** What arrives are pieces of an archive (`encodePieces`), some of which are only named. */
  readonly inPieces?: boolean;
  /** What arrives is a tar-split, and the rest of the tar is in these files. */
  readonly files?: LayerFiles;
}

/** Stores layers, one after the other. */
export interface LayerStore {
  /**
   * Stores the layer whose bytes `source` yields. They are read to their end, so what `source` throws, also after the last
   * one, keeps the layer from being stored; that is thrown then. When this returns or throws, nothing is written any more.
   * After a failure that is not the source's, the rest of the source can be read.
   */
  store(job: LayerJob, source: AsyncIterable<Uint8Array>): Promise<ImportStats>;
  close(): Promise<void>;
}

/** Stores layers on this thread. */
export function layerStoreHere(repository: Repository): LayerStore {
  return {
    store: (job, source) => storeLayer(repository, job, source),
    close: async () => {},
  };
}

/** Stores one layer on this thread: see `LayerStore.store`. */
export async function storeLayer(
  repository: Repository,
  { diffId, compression, asIs, inPieces = false, files }: LayerJob,
  source: AsyncIterable<Uint8Array>,
): Promise<ImportStats> {
  const layer = asIs ? new BlobImport(repository, diffId) : new LayerImport(repository, diffId);
  try {
    const pieces = decompress(source, compression);
    if (files !== undefined && layer instanceof LayerImport) {
      const { platform, root } = repository.files;
      await assembleLayer(platform.linux, layer, pieces, files, root);
    } else if (inPieces && layer instanceof LayerImport) {
      await writePieces(repository, layer, pieces);
    } else {
      for await (const chunk of pieces) layer.write(chunk);
    }
    // A decoder stops at the end of its data; what follows belongs to the layer's blob, too.
    for await (const _ of source);
    layer.finish();
    return layer.stats;
  } catch (error) {
    layer.abort();
    throw error;
  }
}

async function writePieces(
  repository: Repository,
  layer: LayerImport,
  source: AsyncIterable<Uint8Array>,
): Promise<void> {
  const reader = new PieceReader(repository.hash);
  for await (const chunk of source) {
    for (const piece of reader.push(chunk)) {
      if (piece instanceof Uint8Array) layer.write(piece);
      else layer.writeObject(piece);
    }
  }
  reader.end();
}
