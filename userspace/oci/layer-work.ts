/** Layers that are to be fetched, and what is told of them on their way. */
import type { Descriptor } from "../../src/formats/oci.ts";
import type { BlobDescriptor } from "./transport.ts";

/** A layer that has to be fetched. */
export interface LayerWork {
  /** Place in the manifest, from 0. */
  readonly index: number;
  readonly descriptor: BlobDescriptor & Partial<Pick<Descriptor, "annotations">>;
  /** Digest of the uncompressed tar. */
  readonly diffId: string;
  /** Kept as it is, whatever it holds: an artifact's. The diffId is the blob's own digest then. */
  readonly asIs?: boolean;
}

/** Told about layers on their way. */
export interface LayerProgress {
  /** More bytes of a layer have arrived; fewer than 0: so many have turned out to be in vain, and more are fetched. */
  received?(index: number, bytes: number): void;
  /** Of a layer only so many bytes are fetched, in all: the repository has the rest. */
  partial?(index: number, bytes: number): void;
  /** Nothing came of that, and all of the layer is fetched. */
  whole?(index: number, why: unknown): void;
  /** A layer is stored. */
  stored?(index: number): void;
}
