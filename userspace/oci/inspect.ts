/** What is told about one image. */
import { fromBytes, toText } from "../../src/formats/bytestring.ts";
import { toHex } from "../../src/formats/digest.ts";
import { isDigest, MAX_MANIFEST } from "../../src/formats/oci.ts";
import { tagRef } from "../../src/formats/oci-tag.ts";
import type { Repository } from "../repository/repository.ts";
import { openImage, type StoredImage } from "./image.ts";
import { listReferrers } from "./referrers.ts";
import { configContentId, configRef, imageRef, MANIFEST_PREFIX, readDocument } from "./streams.ts";

export type ImageWithManifest = StoredImage & {
  readonly manifest: NonNullable<StoredImage["manifest"]>;
};

/** The fields of `cfsctl oci inspect`. */
export interface Inspection {
  /** The documents, as they were received. */
  readonly manifest: string;
  readonly config: string;
  /** Digests. */
  readonly referrers: readonly string[];
  /** fs-verity digests, in hex, of the filesystem images in the repository's default format. */
  readonly composefs_erofs: string | null;
  readonly composefs_boot_erofs: string | null;
}

/**
 * Opens an image for what needs its manifest: by tag, or by the digest of its manifest or config, as `@sha256:…` or, where
 * that is no tag, without the `@`. The manifest of a config is the one in the repository that names it; of several, the
 * error lists them.
 */
export function openImageWithManifest(repository: Repository, name: string): ImageWithManifest {
  const bare = isDigest(name) && repository.readRef("streams", tagRef(name)) === undefined;
  const digest = bare ? name : name.startsWith("@") ? name.slice(1) : undefined;
  if (digest !== undefined && isDigest(digest) && isConfig(repository, digest)) {
    return openByConfig(repository, digest);
  }
  return requireManifest(openImage(repository, bare ? `@${name}` : name));
}

function isConfig(repository: Repository, digest: string): boolean {
  return (
    repository.streamObject(MANIFEST_PREFIX + digest) === undefined &&
    repository.streamObject(configContentId(digest)) !== undefined
  );
}

function openByConfig(repository: Repository, digest: string): ImageWithManifest {
  const manifests = manifestsOfConfig(repository, digest);
  if (manifests.length === 1) {
    return requireManifest(openImage(repository, `@${manifests[0]}`));
  }
  if (manifests.length === 0) throw new Error(`config ${digest}: no manifest names it`);
  throw Object.assign(new Error(`config ${digest}: ${manifests.length} images have it`), {
    hint: `say which one: ${manifests.map((manifest) => `@${manifest}`).join(", ")}`,
  });
}

function requireManifest(image: StoredImage): ImageWithManifest {
  const { manifest } = image;
  if (manifest === undefined) throw new Error(`image ${image.name}: it has no manifest`);
  return { ...image, manifest };
}

/** Digests of the manifests whose streams refer to a config, sorted. */
function manifestsOfConfig(repository: Repository, digest: string): string[] {
  return repository.listStreams().flatMap((contentId) => {
    if (!contentId.startsWith(MANIFEST_PREFIX)) return [];
    const stream = repository.streamObject(contentId);
    if (stream === undefined) return [];
    const { refs } = readDocument(repository, stream, "oci-manifest", contentId, MAX_MANIFEST);
    return refs.has(configRef(digest)) ? [contentId.slice(MANIFEST_PREFIX.length)] : [];
  });
}

/** What `cfsctl oci inspect` tells. */
export function inspectImage(repository: Repository, image: ImageWithManifest): Inspection {
  const { manifest, config, images } = image;
  const made = (bootable: boolean) => {
    const name = imageRef(repository.formats[0]!, bootable, "allowlist-only");
    const digest = images.get(name);
    return digest === undefined ? null : toHex(digest);
  };
  return {
    manifest: textOf(manifest.bytes, `manifest ${manifest.digest}`),
    config: textOf(config.bytes, `config ${config.digest}`),
    referrers: listReferrers(repository, manifest.digest),
    composefs_erofs: made(false),
    composefs_boot_erofs: made(true),
  };
}

function textOf(bytes: Uint8Array, name: string): string {
  const text = toText(fromBytes(bytes));
  if (text === undefined) throw new Error(`${name}: expected UTF-8`);
  return text;
}
