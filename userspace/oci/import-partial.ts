/** Storing a layer of which only a part is fetched; and what to do where that comes to nothing. */
import { type ArchivePiece, encodePieces } from "./archive-pieces.ts";
import { errorCodes } from "./connection-error.ts";
import type { ImportStats } from "./layer.ts";
import type { LayerProgress, LayerWork } from "./layer-work.ts";
import type { LocalContents } from "./local-contents.ts";
import { openPartialLayer } from "./partial-layer.ts";
import type { LayerStore } from "./store-layer.ts";
import type { Transport } from "./transport.ts";

export interface PartialImport {
  readonly store: LayerStore;
  readonly transport: Transport;
  readonly contents: LocalContents;
  readonly progress: LayerProgress;
  /** Ends the import. */
  readonly signal: AbortSignal;
}

/**
 * Stores a layer of which only what the repository lacks is fetched. `undefined` if the whole layer must be fetched, or
 * should be because that is cheaper; nothing was stored then but objects that nobody refers to.
 *
 * Whatever is wrong with what was fetched is reported and no error: the whole layer, whose digest is known, may be good.
 * Thrown is what keeps any layer from being stored.
 */
export async function importPartially(
  { index, descriptor, diffId }: LayerWork,
  { store, transport, contents, progress, signal: outer }: PartialImport,
): Promise<ImportStats | undefined> {
  const ended = new AbortController();
  const signal = AbortSignal.any([outer, ended.signal]);
  let bytes = 0;
  const received = (more: number) => {
    outer.throwIfAborted();
    bytes += more;
    progress.received?.(index, more);
  };
  const inVain = () => progress.received?.(index, -bytes);
  let content: AsyncGenerator<ArchivePiece, void, undefined> | undefined;
  let broken = false;
  try {
    const layer = await openPartialLayer(transport, descriptor, { contents, signal, received });
    if (layer === undefined) {
      inVain();
      return undefined;
    }
    progress.partial?.(index, layer.bytes);
    content = layer.content();
    const source = noticed(encodePieces(content), () => {
      broken = true;
    });
    return await store.store({ diffId, compression: "none", asIs: false, inPieces: true }, source);
  } catch (error) {
    outer.throwIfAborted();
    if (content !== undefined && !broken && errorCodes(error).some(isHopeless)) throw error;
    inVain();
    progress.whole?.(index, error);
    return undefined;
  } finally {
    ended.abort(); // what is still on its way is not waited for
    await content?.return().catch(() => {});
  }
}

/** Whether it would not be better if all of the layer was fetched. */
function isHopeless(code: string): boolean {
  return ["ENOSPC", "EDQUOT", "EROFS"].includes(code);
}

/** The same bytes; it is noticed when the source fails. */
async function* noticed(
  source: AsyncIterable<Uint8Array>,
  failed: () => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* source;
  } catch (error) {
    failed();
    throw error;
  }
}
