/** What a thread that pulls and one that stores layers for it say to each other. */
import type { PackedError } from "../thread-error.ts";
import type { ImportStats } from "./layer.ts";
import type { LayerJob } from "./store-layer.ts";

/** The `workerData` of a thread that stores layers. */
export interface LayerThreadData {
  /** A path to the repository's directory. */
  readonly repository: string;
  /** That it is used without fs-verity, whatever it has. */
  readonly insecure: boolean;
}

/** To the thread that stores. A layer is `begin`, any number of `bytes`, and `end` or `cancel`. */
export type ToStore =
  | { readonly type: "begin"; readonly job: LayerJob }
  | { readonly type: "bytes"; readonly bytes: Uint8Array }
  | { readonly type: "end" }
  | { readonly type: "cancel" }
  | { readonly type: "close" };

/** From the thread that stores. Exactly one `stored` or `failed` answers a layer, which may be before its end. */
export type FromStore =
  /** So many bytes were taken over and are no longer waiting. */
  | { readonly type: "taken"; readonly size: number }
  | { readonly type: "stored"; readonly stats: ImportStats }
  | { readonly type: "failed"; readonly error: PackedError };
