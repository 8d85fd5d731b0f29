/**
 * The streams of an image's documents: each is one object, the JSON as it was received, with named references to what it
 * consists of. A manifest's: `config:<digest>` and its layers; a config's: its layers, and the images made of it.
 */
import { CONTENT_TYPES, SplitstreamWriter } from "../../src/formats/splitstream.ts";
import type { Repository } from "../repository/repository.ts";
import { zstd } from "../zstd.ts";

export type DocumentKind = "config" | "manifest";

/** Named references of a config with this prefix are images, all others are layers. */
export const IMAGE_REF_PREFIX = "composefs.image";

/** The stream's name in the repository. `digest` is the document's. */
export function documentContentId(kind: DocumentKind, digest: string): string {
  return `oci-${kind}-${digest}`;
}

/**
 * Stores a document and its stream; everything that `refs` names must be there. "keep" leaves a stream that exists as it is.
 * Returns the digest of the stream's object.
 */
export function writeDocument(
  repository: Repository,
  kind: DocumentKind,
  digest: string,
  json: Uint8Array,
  refs: ReadonlyMap<string, Uint8Array>,
  existing: "keep" | "replace",
): Uint8Array {
  const object = repository.storeObject(json);
  const stream = new SplitstreamWriter(repository.hash, CONTENT_TYPES[`oci-${kind}`], zstd);
  stream.external(object.digest, object.size);
  for (const [name, target] of refs) stream.addNamedRef(name, target);
  return repository.writeStream(documentContentId(kind, digest), stream.finish(), { existing });
}

/** Whether two tables of named references are the same. */
export function sameRefs(
  a: ReadonlyMap<string, Uint8Array>,
  b: ReadonlyMap<string, Uint8Array>,
): boolean {
  if (a.size !== b.size) return false;
  for (const [name, target] of a) {
    const other = b.get(name);
    if (other === undefined || Buffer.compare(target, other) !== 0) return false;
  }
  return true;
}
