/** From what a reference names to one image's manifest: through indexes, by platform. */
import {
  chooseManifest,
  type ImageManifest,
  type ImagePlatform,
  isIndex,
  parseIndex,
  parseManifest,
} from "../../src/formats/oci.ts";
import type { ManifestBytes, Transport } from "./transport.ts";

/** An index may name an index; nobody needs more than a few of them. */
const INDEX_DEPTH = 4;

export interface ResolvedManifest {
  /** As it was received. */
  readonly bytes: Uint8Array;
  readonly digest: string;
  readonly manifest: ImageManifest;
}

/** Fetches the manifest of the image that the transport's reference names. */
export async function resolveManifest(
  transport: Transport,
  platform: ImagePlatform,
): Promise<ResolvedManifest> {
  let document: ManifestBytes = await transport.root();
  for (let depth = 0; isIndex(document.bytes, document.mediaType); depth++) {
    if (depth === INDEX_DEPTH) throw new Error(`more than ${INDEX_DEPTH} indexes in each other`);
    const where = `index ${document.digest}`;
    const chosen = chooseManifest(parseIndex(document.bytes, where), platform);
    document = await transport.manifest(chosen);
  }
  const { bytes, digest } = document;
  return { bytes, digest, manifest: parseManifest(bytes, `manifest ${digest}`) };
}
