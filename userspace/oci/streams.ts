/**
 * Streams of an image's documents. A config's and a manifest's stream is the document, byte for byte, as one object; its
 * named references lead to what belongs to the image, and keep it from being collected.
 */
import type { ErofsFormat } from "../../src/formats/meta-json.ts";
import { CONTENT_TYPES } from "../../src/formats/splitstream.ts";
import { SplitstreamWriter } from "../../src/formats/splitstream-writer.ts";
import type { XattrMode } from "../../src/model/transform.ts";
import { RepositoryError } from "../repository/errors.ts";
import type { Repository } from "../repository/repository.ts";
import { zstd } from "../zstd.ts";

export const MANIFEST_PREFIX = "oci-manifest-";
const CONFIG_PREFIX = "oci-config-";
export const CONFIG_REF_PREFIX = "config:";
const IMAGE_REF = "composefs.image";

/** Digest of the object of a stream or of an image. */
export type ObjectDigest = Uint8Array;

/** `oci-manifest-sha256:…` */
export function manifestContentId(digest: string): string {
  return MANIFEST_PREFIX + digest;
}

/** `oci-config-sha256:…` */
export function configContentId(digest: string): string {
  return CONFIG_PREFIX + digest;
}

/** The name under which a manifest's stream refers to its config's. */
export function configRef(digest: string): string {
  return CONFIG_REF_PREFIX + digest;
}

/** The name under which a config's stream refers to an image that was made of it. */
export function imageRef(format: ErofsFormat, bootable: boolean, xattrs: XattrMode): string {
  const boot = bootable ? ".boot" : "";
  // Formats 0 and 1 are two versions of one layout, and the same name is for both.
  const epoch = format === 2 ? "" : ".v1";
  const mode = bootable && xattrs !== "allowlist-only" ? `.xattrs=${xattrs}` : "";
  return IMAGE_REF + boot + epoch + mode;
}

/** Whether a name in a config's stream is that of an image; the others are layers. */
export function isImageRef(name: string): boolean {
  return name === IMAGE_REF || name === `${IMAGE_REF}.v1` || name.startsWith(`${IMAGE_REF}.boot`);
}

export interface DocumentStream {
  /** The digest of the stream's own object. */
  readonly stream: ObjectDigest;
  readonly bytes: Uint8Array;
  readonly refs: ReadonlyMap<string, ObjectDigest>;
}

/** Reads a document's stream by its digest. `name` is for messages; `limit` is of the document, in bytes. */
export function readDocument(
  repository: Repository,
  stream: ObjectDigest,
  kind: "oci-config" | "oci-manifest",
  name: string,
  limit: number,
): DocumentStream {
  try {
    const splitstream = repository.readStreamObject(stream, CONTENT_TYPES[kind]);
    const [document, another] = splitstream.chunks();
    if (document?.type !== "external" || another !== undefined) {
      throw new RepositoryError("corrupt", "expected a stream of exactly one object");
    }
    return {
      stream,
      bytes: repository.readObject(document.digest, limit),
      refs: splitstream.namedRefs(),
    };
  } catch (error) {
    throw new Error(`stream of ${name}`, { cause: error });
  }
}

/**
 * Writes the stream of a config, replacing an older one: who does that rewrites all manifests that name it (`addImages`).
 * `layers` are digest and stream of each layer, in the order of the config; `images` are named by `imageRef`.
 */
export function writeConfigStream(
  repository: Repository,
  digest: string,
  bytes: Uint8Array,
  layers: Iterable<readonly [digest: string, stream: ObjectDigest]>,
  images: Iterable<readonly [name: string, image: ObjectDigest]> = [],
): ObjectDigest {
  return writeDocument(repository, configContentId(digest), "oci-config", bytes, [
    ...layers,
    ...images,
  ]);
}

/** Writes the stream of a manifest, replacing an older one. `layers` as of `writeConfigStream`. */
export function writeManifestStream(
  repository: Repository,
  digest: string,
  bytes: Uint8Array,
  config: { readonly digest: string; readonly stream: ObjectDigest },
  layers: Iterable<readonly [digest: string, stream: ObjectDigest]>,
): ObjectDigest {
  return writeDocument(repository, manifestContentId(digest), "oci-manifest", bytes, [
    [configRef(config.digest), config.stream],
    ...layers,
  ]);
}

function writeDocument(
  repository: Repository,
  contentId: string,
  kind: "oci-config" | "oci-manifest",
  bytes: Uint8Array,
  refs: readonly (readonly [name: string, digest: ObjectDigest])[],
): ObjectDigest {
  const writer = new SplitstreamWriter(repository.hash, CONTENT_TYPES[kind], zstd);
  for (const [name, digest] of refs) writer.addNamedRef(name, digest);
  const object = repository.storeObject(bytes);
  writer.external(object.digest, object.size);
  return repository.writeStream(contentId, writer.finish(), { existing: "replace" });
}
