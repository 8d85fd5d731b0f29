/** Where an image in the repository came from, to fetch parts of it again. */
import { isIndex, MEDIA_TYPES, parseIndex } from "../../src/formats/oci.ts";
import { parseReference, type Reference } from "./reference.ts";
import type { ManifestBytes, Transport } from "./transport.ts";

export type OpenTransport = (reference: Reference) => Promise<Transport>;

/** Indexes in each other that are searched for a manifest. */
const INDEX_DEPTH = 4;
const INDEX_TYPES: readonly string[] = [MEDIA_TYPES.index, MEDIA_TYPES.dockerIndex];

/** Where an image can be fetched from; opened when it is needed. */
export class Source {
  readonly #references: readonly Reference[];
  readonly #open: OpenTransport;
  #transport: Transport | undefined;

  constructor(tags: readonly string[], manifest: string, open: OpenTransport) {
    this.#references = tags.flatMap((tag) => {
      try {
        return [pinned(parseReference(tag), manifest)];
      } catch {
        return []; // a name that somebody has given it
      }
    });
    this.#open = open;
  }

  /** Whether there is any place to try. */
  get isKnown(): boolean {
    return this.#references.length > 0;
  }

  async transport(): Promise<Transport> {
    if (this.#transport !== undefined) return this.#transport;
    let failure: unknown = new Error("its name does not tell where it came from");
    for (const reference of this.#references) {
      try {
        this.#transport = await this.#open(reference);
        return this.#transport;
      } catch (error) {
        failure = error;
      }
    }
    throw failure;
  }

  async close(): Promise<void> {
    await this.#transport?.close();
  }
}

/** The same place, and there the one manifest: the tag may have gone on to another. */
function pinned(reference: Reference, manifest: string): Reference {
  if (reference.transport === "docker") return { ...reference, digest: manifest };
  if (reference.transport === "oci") return { ...reference, tag: undefined };
  if (reference.transport === "containers-storage" && reference.location !== undefined)
    return { ...reference, location: { ...reference.location, digest: manifest } };
  return reference;
}

/** Looks for a manifest, through all that the reference leads to. */
export async function findManifest(transport: Transport, digest: string): Promise<ManifestBytes> {
  let documents = [await transport.root()];
  for (let depth = 0; depth <= INDEX_DEPTH; depth++) {
    const found = documents.find((document) => document.digest === digest);
    if (found !== undefined) return found;
    const indexes = documents.filter(({ bytes, mediaType }) => isIndex(bytes, mediaType));
    const entries = indexes.flatMap((index) => parseIndex(index.bytes, index.digest).manifests);
    const entry = entries.find((candidate) => candidate.digest === digest);
    if (entry !== undefined) return transport.manifest(entry);
    const nested = entries.filter(({ mediaType }) => INDEX_TYPES.includes(mediaType));
    documents = await Promise.all(nested.map((index) => transport.manifest(index)));
  }
  throw new Error(`manifest ${digest} is not there any more`);
}
