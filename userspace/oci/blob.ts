/** A blob on its way into the repository that is kept as it is: an artifact's layer. */
import { CONTENT_TYPES } from "../../src/formats/splitstream.ts";
import { SplitstreamWriter } from "../../src/formats/splitstream-writer.ts";
import type { ObjectWriter, Repository } from "../repository/repository.ts";
import { zstd } from "../zstd.ts";
import { layerContentId, noStats } from "./layer.ts";

/**
 * One object, and a stream of the kind `oci-blob` that consists of it. Whoever writes the bytes has them checked against
 * the digest on their way. To be used like a `LayerImport`.
 */
export class BlobImport {
  readonly stats = noStats();
  readonly #repository: Repository;
  readonly #digest: string;
  readonly #object: ObjectWriter;

  constructor(repository: Repository, digest: string) {
    this.#repository = repository;
    this.#digest = digest;
    this.#object = repository.createObject();
  }

  write(chunk: Uint8Array): void {
    this.#object.write(chunk);
  }

  /** Makes everything durable and links the stream. Returns the digest of the stream's object. */
  finish(): Uint8Array {
    const { digest, size, existing } = this.#object.finish();
    this.stats[existing ? "objectsExisting" : "objectsStored"]++;
    this.stats[existing ? "bytesExisting" : "bytesStored"] += size;
    const stream = new SplitstreamWriter(this.#repository.hash, CONTENT_TYPES["oci-blob"], zstd);
    stream.external(digest, size);
    return this.#repository.writeStream(layerContentId(this.#digest), stream.finish(), {
      existing: "keep",
    });
  }

  /** Drops what is unfinished. Does nothing after `finish`. */
  abort(): void {
    this.#object.abort();
  }
}
