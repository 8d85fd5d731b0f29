/** Images that are in a repository: found by tag or digest, listed, tagged. */
import { createHash } from "node:crypto";
import {
  type ImageConfig,
  type ImageManifest,
  isContainerImage,
  isDigest,
  MAX_CONFIG,
  MAX_MANIFEST,
  parseConfig,
  parseManifest,
} from "../../src/formats/oci.ts";
import { decodeTag, TAG_DIRECTORY, tagRef } from "../../src/formats/oci-tag.ts";
import { RepositoryError } from "../repository/errors.ts";
import type { Repository } from "../repository/repository.ts";
import {
  configContentId,
  configRef,
  type DocumentStream,
  isImageRef,
  MANIFEST_PREFIX,
  manifestContentId,
  type ObjectDigest,
  readDocument,
} from "./streams.ts";

export interface StoredLayer {
  /** Of the uncompressed tar; for an artifact that of the blob. */
  readonly digest: string;
  readonly stream: ObjectDigest;
}

export interface StoredImage {
  /** As it was asked for; for messages. */
  readonly name: string;
  /** `undefined` if the image was asked for by its config, and no manifest was looked for. */
  readonly manifest:
    | {
        readonly digest: string;
        readonly bytes: Uint8Array;
        readonly document: ImageManifest;
        readonly stream: ObjectDigest;
      }
    | undefined;
  readonly config: {
    readonly digest: string;
    readonly bytes: Uint8Array;
    /** `undefined` for an artifact, whose config is anything. */
    readonly document: ImageConfig | undefined;
    readonly stream: ObjectDigest;
  };
  /** In order, the lowest first. */
  readonly layers: readonly StoredLayer[];
  /** Images that were made of it, named as by `imageRef`. */
  readonly images: ReadonlyMap<string, ObjectDigest>;
}

/**
 * Opens an image: by tag, or as `@sha256:…` by the digest of its manifest or config. Documents are checked against their
 * digests. No such image: a `RepositoryError` "not-found".
 */
export function openImage(repository: Repository, name: string): StoredImage {
  try {
    if (!name.startsWith("@")) return openManifest(repository, name, resolveTag(repository, name));
    const digest = name.slice(1);
    if (!isDigest(digest)) throw new Error("expected @sha256: and 64 lower-case hex digits");
    if (repository.streamObject(manifestContentId(digest)) !== undefined) {
      return openManifest(repository, name, digest);
    }
    const stream = repository.streamObject(configContentId(digest));
    if (stream !== undefined) {
      const config = readChecked(repository, stream, "oci-config", digest);
      return assemble(name, undefined, digest, config);
    }
    throw new RepositoryError("not-found", "there is no such image", {
      hint: `cfsboot image list --repo ${repository.path}`,
    });
  } catch (error) {
    throw new Error(`image ${name}`, { cause: error });
  }
}

/** The digest of the manifest that a tag stands for. */
export function resolveTag(repository: Repository, tag: string): string {
  const target = repository.readRef("streams", tagRef(tag));
  if (target === undefined) {
    throw new RepositoryError("not-found", "there is no such image", {
      hint: `cfsboot image list --repo ${repository.path}`,
    });
  }
  const digest = manifestOfTag(target);
  if (digest === undefined) {
    throw new RepositoryError("corrupt", `the tag leads to ${target}, which is no manifest`);
  }
  return digest;
}

/** Gives an image that is in the repository a tag, taking it from the image that had it. */
export function tagImage(repository: Repository, manifestDigest: string, tag: string): void {
  repository.setRef("streams", tagRef(tag), manifestContentId(manifestDigest));
}

/** Removes a tag; false if there is none. The image itself stays until garbage is collected. */
export function untagImage(repository: Repository, tag: string): boolean {
  return repository.removeRef("streams", tagRef(tag));
}

/** All tags with the digests of their manifests, sorted by tag. Foreign references are left out. */
export function listTags(repository: Repository): { tag: string; manifestDigest: string }[] {
  const tags = [];
  for (const { name, target } of repository.listRefs("streams", TAG_DIRECTORY)) {
    const manifestDigest = manifestOfTag(target);
    const component = name.slice(TAG_DIRECTORY.length + 1);
    if (manifestDigest !== undefined && !component.includes("/")) {
      tags.push({ tag: decodeTag(component), manifestDigest });
    }
  }
  return tags.sort((a, b) => (a.tag < b.tag ? -1 : a.tag > b.tag ? 1 : 0));
}

/** The digest of the manifest whose stream is the entry that a tag leads to; `undefined` if that is no manifest. */
export function manifestOfTag(target: string): string | undefined {
  const digest = target.startsWith(MANIFEST_PREFIX) ? target.slice(MANIFEST_PREFIX.length) : "";
  return isDigest(digest) ? digest : undefined;
}

function openManifest(repository: Repository, name: string, digest: string): StoredImage {
  const stream = repository.streamObject(manifestContentId(digest));
  if (stream === undefined) throw new RepositoryError("corrupt", `manifest ${digest} is missing`);
  const manifest = readChecked(repository, stream, "oci-manifest", digest);
  const document = parseManifest(manifest.bytes, `manifest ${digest}`);
  const configDigest = document.config.digest;
  // The link is the newer one, if an interrupted rewrite, or another tool's, left the manifest with an old stream.
  const configStream =
    repository.streamObject(configContentId(configDigest)) ??
    manifest.refs.get(configRef(configDigest));
  if (configStream === undefined) {
    throw new RepositoryError("corrupt", `config ${configDigest} is missing`);
  }
  const config = readChecked(repository, configStream, "oci-config", configDigest);
  return assemble(name, { ...manifest, digest, document }, configDigest, config);
}

function assemble(
  name: string,
  manifest: (NonNullable<StoredImage["manifest"]> & DocumentStream) | undefined,
  configDigest: string,
  { bytes, stream, refs }: DocumentStream,
): StoredImage {
  const artifact = manifest !== undefined && !isContainerImage(manifest.document);
  const document = artifact ? undefined : parseConfig(bytes, `config ${configDigest}`);
  const digests = document?.diffIds ?? manifest!.document.layers.map(({ digest }) => digest);
  // Many artifacts may share their config, so theirs are named by the manifest.
  const [owner, layerRefs] = artifact
    ? [`manifest ${manifest.digest}`, manifest.refs]
    : [`config ${configDigest}`, refs];
  const layers = digests.map((digest) => {
    const layer = layerRefs.get(digest);
    if (layer === undefined) {
      throw new RepositoryError("corrupt", `${owner} has lost its layer ${digest}`);
    }
    return { digest, stream: layer };
  });
  return {
    name,
    manifest,
    config: { digest: configDigest, bytes, document, stream },
    layers,
    images: new Map([...refs].filter(([ref]) => isImageRef(ref))),
  };
}

/** Reads a document and checks that it is the one that the digest names. */
function readChecked(
  repository: Repository,
  stream: ObjectDigest,
  kind: "oci-config" | "oci-manifest",
  digest: string,
): DocumentStream {
  const name = `${kind === "oci-config" ? "config" : "manifest"} ${digest}`;
  const limit = kind === "oci-config" ? MAX_CONFIG : MAX_MANIFEST;
  const document = readDocument(repository, stream, kind, name, limit);
  const actual = `sha256:${createHash("sha256").update(document.bytes).digest("hex")}`;
  if (actual !== digest) {
    throw new RepositoryError("corrupt", `${name}: the document's digest is ${actual}`, {
      hint: "pull the image again, from where it came: that puts the genuine document back",
    });
  }
  return document;
}
