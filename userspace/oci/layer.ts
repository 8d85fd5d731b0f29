/** A layer on its way into the repository. */
import { createHash } from "node:crypto";
import { CONTENT_TYPES, SplitstreamWriter } from "../../src/formats/splitstream.ts";
import { TarSplitter } from "../../src/formats/tar/splitter.ts";
import type { ObjectWriter, Repository } from "../repository/repository.ts";
import { zstd } from "../zstd.ts";

/** What an import put into the repository. */
export interface ImportStats {
  /** Objects that were not there before, and their bytes. */
  objectsStored: number;
  bytesStored: number;
  /** Objects that were there already, and their bytes. */
  objectsExisting: number;
  bytesExisting: number;
  /** Bytes of headers and small files that are kept in splitstreams. */
  bytesInline: number;
}

export function noStats(): ImportStats {
  return {
    objectsStored: 0,
    bytesStored: 0,
    objectsExisting: 0,
    bytesExisting: 0,
    bytesInline: 0,
  };
}

export function addStats(to: ImportStats, more: ImportStats): void {
  for (const key of Object.keys(to) as (keyof ImportStats)[]) to[key] += more[key];
}

/** The name of a layer's stream. `diffId` is the digest of the uncompressed tar. */
export function layerContentId(diffId: string): string {
  return `oci-layer-${diffId}`;
}

/**
 * The uncompressed tar of a layer, written in pieces of any size: bodies of files become objects, all else a splitstream.
 *
 * Nothing refers to the objects until `finish` has seen that the bytes are those that the diff_id stands for. Synchronous,
 * and bound to nothing but the repository.
 */
export class LayerImport {
  readonly stats = noStats();
  readonly #repository: Repository;
  readonly #diffId: string;
  readonly #hash = createHash("sha256");
  readonly #stream: SplitstreamWriter;
  readonly #splitter: TarSplitter;
  #object: ObjectWriter | undefined;

  /** `diffId` is the digest that the uncompressed bytes must have. */
  constructor(repository: Repository, diffId: string) {
    this.#repository = repository;
    this.#diffId = diffId;
    this.#stream = new SplitstreamWriter(repository.hash, CONTENT_TYPES["oci-layer"], zstd);
    this.#splitter = new TarSplitter({
      inline: (bytes) => {
        this.stats.bytesInline += bytes.length;
        this.#stream.inline(bytes);
      },
      beginExternal: () => {
        this.#object = this.#repository.createObject();
      },
      externalData: (chunk) => this.#object!.write(chunk),
      endExternal: () => {
        const object = this.#object!;
        this.#object = undefined;
        const { digest, size, existing } = object.finish();
        this.stats[existing ? "objectsExisting" : "objectsStored"]++;
        this.stats[existing ? "bytesExisting" : "bytesStored"] += size;
        this.#stream.external(digest, size);
      },
    });
  }

  /** Throws where the bytes are no tar, naming the offset. */
  write(chunk: Uint8Array): void {
    this.#hash.update(chunk);
    this.#splitter.push(chunk);
  }

  /**
   * Checks the digest, makes everything durable and links the layer's stream.
   *
   * Returns the digest of the stream's object: of an older one, if somebody else was faster.
   */
  finish(): Uint8Array {
    this.#splitter.end();
    const digest = `sha256:${this.#hash.digest("hex")}`;
    if (digest !== this.#diffId)
      throw new Error(
        `has the digest ${digest} when decompressed; the config states the diff_id ${this.#diffId}`,
      );
    return this.#repository.writeStream(layerContentId(this.#diffId), this.#stream.finish(), {
      existing: "keep",
    });
  }

  /** Drops what is unfinished. Does nothing after `finish`. */
  abort(): void {
    this.#object?.abort();
    this.#object = undefined;
  }
}
