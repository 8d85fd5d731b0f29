/** Filesystem images of container images: their tree, their digests, and how they get into the repository. */

import { sameDigest } from "../../src/formats/digest.ts";
import { writeErofs } from "../../src/formats/erofs/writer.ts";
import type { ErofsFormat } from "../../src/formats/meta-json.ts";
import { MAX_CONFIG, MAX_MANIFEST } from "../../src/formats/oci.ts";
import { CONTENT_TYPES } from "../../src/formats/splitstream.ts";
import { readEntries } from "../../src/formats/tar/entries.ts";
import { type Layer, mergeLayers } from "../../src/model/layers.ts";
import type { ReadContent } from "../../src/model/selinux/policy.ts";
import { transformForBoot, transformForOci, type XattrMode } from "../../src/model/transform.ts";
import type { Tree } from "../../src/model/tree.ts";
import { digestBytes } from "../hash.ts";
import type { Repository } from "../repository/repository.ts";
import type { StoredImage } from "./image.ts";
import {
  CONFIG_REF_PREFIX,
  configContentId,
  configRef,
  type DocumentStream,
  imageRef,
  isImageRef,
  MANIFEST_PREFIX,
  type ObjectDigest,
  readDocument,
  writeConfigStream,
  writeManifestStream,
} from "./streams.ts";

export interface TreeOptions {
  /** The tree that a machine boots, which differs from that of a container. */
  readonly bootable?: boolean;
  readonly xattrs?: XattrMode;
}

export interface CommittedImage {
  readonly format: ErofsFormat;
  readonly bootable: boolean;
  /** fs-verity digest of the image. */
  readonly digest: ObjectDigest;
  /** What a bootable one was made of. */
  readonly tree?: Tree;
}

/** Largest file of an image that is read to make its tree bootable, in bytes. */
const MAX_READ = 16 << 20;

/** The tree of a container image, as it goes into a filesystem image. */
export function imageTree(
  repository: Repository,
  image: StoredImage,
  { bootable = false, xattrs = "allowlist-only" }: TreeOptions = {},
): Tree {
  let tree: Tree;
  try {
    tree = mergeLayers(layersOf(repository, image));
    transformForOci(tree, xattrs);
  } catch (error) {
    throw new Error(`image ${image.name}`, { cause: error });
  }
  if (bootable) makeBootable(repository, image, tree);
  return tree;
}

function makeBootable(repository: Repository, image: StoredImage, tree: Tree): void {
  const read: ReadContent = (content, path) => {
    if (content.type === "inline") return content.data;
    if (content.type !== "external") throw new Error(`${path}: expected a file with content`);
    return repository.readObject(content.digest, MAX_READ);
  };
  try {
    transformForBoot(tree, read);
  } catch (error) {
    throw new Error(`image ${image.name}`, { cause: error });
  }
}

/** One layer is read at a time, when it is its turn. */
function* layersOf(repository: Repository, image: StoredImage): Generator<Layer> {
  if (image.config.document === undefined) {
    throw new Error("an artifact has no filesystem, only container images have one");
  }
  for (const [i, { digest, stream }] of image.layers.entries()) {
    const name = `${i + 1} (${digest})`;
    try {
      const splitstream = repository.readStreamObject(stream, CONTENT_TYPES["oci-layer"]);
      yield { name, entries: readEntries(splitstream.chunks()) };
    } catch (error) {
      throw new Error(`layer ${name}`, { cause: error });
    }
  }
}

/** The digest that the filesystem image of a container image has. Nothing is stored. */
export function imageDigest(
  repository: Repository,
  image: StoredImage,
  format: ErofsFormat,
  options?: TreeOptions,
): ObjectDigest {
  const bytes = writeErofs(imageTree(repository, image, options), { format });
  return digestBytes(repository.hash, bytes);
}

/**
 * Makes the filesystem images of a container image, in all formats of the repository, and the bootable ones if asked for;
 * stores them, and links them to the image so that they live as long as it does. The default format comes first.
 */
export function commitImages(
  repository: Repository,
  image: StoredImage,
  { bootable = false, xattrs = "allowlist-only" }: TreeOptions = {},
): CommittedImage[] {
  const made: (Omit<CommittedImage, "digest"> & { readonly bytes: Uint8Array })[] = [];
  const make = (tree: Tree, boot: boolean) => {
    for (const format of repository.formats) {
      const bytes = writeErofs(tree, { format });
      made.push({ format, bootable: boot, bytes, ...(boot && { tree }) });
    }
  };
  const tree = imageTree(repository, image);
  make(tree, false);
  if (bootable && xattrs === "allowlist-only") {
    makeBootable(repository, image, tree);
    make(tree, true);
  } else if (bootable) {
    // The tree at hand has lost what this one keeps.
    make(imageTree(repository, image, { bootable, xattrs }), true);
  }

  // Not before all are made: an image that cannot boot leaves nothing behind.
  const refs = new Map<string, ObjectDigest>();
  const committed = made.map(({ bytes, ...one }) => {
    const digest = repository.writeImage(bytes);
    const name = imageRef(one.format, one.bootable, xattrs);
    if (!refs.has(name)) refs.set(name, digest);
    return { ...one, digest };
  });
  repository.rewriting(() => addImages(repository, image, refs));
  return committed;
}

/** References that hold a config's stream while the manifests that name it are rewritten. */
const REWRITE_DIRECTORY = "cfsboot/rewriting";

/**
 * Makes the stream of an image's config refer to filesystem images, besides those that it refers to already.
 *
 * A manifest names its config's stream by digest, and garbage collection follows that only while it is the stream that
 * the config's link leads to. So with the config every manifest that names it is rewritten. A collection between these
 * steps, after a crash, must not lose anything: a reference of our own keeps the config's stream, old or new, until all
 * is done, and whoever comes next completes what was left.
 *
 * Order: the reference; the config's stream; the manifests' streams; the reference is removed.
 *
 * What is read here is written anew: only to be called where no other process does so (`Repository.rewriting`).
 */
function addImages(
  repository: Repository,
  image: StoredImage,
  images: ReadonlyMap<string, ObjectDigest>,
): void {
  completeRewrites(repository);
  const { digest, stream } = image.config;
  const layers = image.layers.map((layer) => [layer.digest, layer.stream] as const);
  rewriteConfig(repository, digest, { stream, layers, images });
}

interface ConfigRewrite {
  /** The config's stream, if no link leads to one. */
  readonly stream: ObjectDigest;
  readonly layers: Iterable<readonly [digest: string, stream: ObjectDigest]>;
  /** What it shall refer to besides what it does already. */
  readonly images: ReadonlyMap<string, ObjectDigest>;
}

function rewriteConfig(
  repository: Repository,
  digest: string,
  { stream, layers, images }: ConfigRewrite,
): void {
  const contentId = configContentId(digest);
  const linked = repository.streamObject(contentId);
  const read = (object: ObjectDigest) =>
    readDocument(repository, object, "oci-config", `config ${digest}`, MAX_CONFIG);
  // As it is now: since the image was opened, others may have added theirs.
  const { bytes, refs } = read(linked ?? stream);
  const others = [...configsOfManifests(repository)]
    .filter((config) => config.digest === digest)
    .flatMap((config) => [...read(config.stream).refs]);
  const known = new Map([...others, ...refs].filter(([name]) => isImageRef(name)));
  const merged = [...new Map([...known, ...images])].sort(([a], [b]) => (a < b ? -1 : 1));

  if (linked === undefined) writeConfigStream(repository, digest, bytes, layers, known);
  const ref = `${REWRITE_DIRECTORY}/${digest}`;
  repository.setRef("streams", ref, contentId);
  writeConfigStream(repository, digest, bytes, layers, merged);
  rewriteManifests(repository, digest);
  repository.removeRef("streams", ref);
}

/**
 * Makes manifests that share a config name the same stream of it, with all the filesystem images that any of theirs refers
 * to. composefs-rs rewrites only the manifest by way of which it makes an image: the others go on naming a stream that
 * no link leads to, which its garbage collection does not follow.
 */
export function uniteConfigs(repository: Repository): void {
  for (const { digest, stream } of configsOfManifests(repository)) {
    const linked = repository.streamObject(configContentId(digest));
    if (linked !== undefined && sameDigest(linked, stream)) continue;
    const current = linked ?? stream;
    const name = `config ${digest}`;
    const { refs } = readDocument(repository, current, "oci-config", name, MAX_CONFIG);
    const layers = [...refs].filter(([ref]) => !isImageRef(ref));
    rewriteConfig(repository, digest, { stream: current, layers, images: new Map() });
  }
}

/** The configs that manifests name, and the streams by which they name them. */
function* configsOfManifests(
  repository: Repository,
): Generator<{ readonly digest: string; readonly stream: ObjectDigest }> {
  for (const { refs } of manifests(repository)) {
    for (const [name, stream] of refs) {
      if (name.startsWith(CONFIG_REF_PREFIX)) {
        yield { digest: name.slice(CONFIG_REF_PREFIX.length), stream };
      }
    }
  }
}

/** Completes rewrites of configs that did not come to their end; their references go, so that they hold nothing any more. */
export function completeRewrites(repository: Repository): void {
  if (repository.listRefs("streams", REWRITE_DIRECTORY).length === 0) return;
  repository.rewriting(() => {
    // What was there is gone if it was another process's, which was about to complete it.
    for (const { name } of repository.listRefs("streams", REWRITE_DIRECTORY)) {
      rewriteManifests(repository, name.slice(REWRITE_DIRECTORY.length + 1));
      repository.removeRef("streams", name);
    }
  });
}

/** Makes all manifests that name a config name its present stream. */
function rewriteManifests(repository: Repository, configDigest: string): void {
  const config = repository.streamObject(configContentId(configDigest));
  if (config === undefined) return;
  const wanted = configRef(configDigest);
  for (const { digest, bytes, refs } of manifests(repository)) {
    const named = refs.get(wanted);
    if (named === undefined || sameDigest(named, config)) continue;
    const layers = [...refs].filter(([name]) => name !== wanted);
    const present = { digest: configDigest, stream: config };
    writeManifestStream(repository, digest, bytes, present, layers);
  }
}

function* manifests(repository: Repository): Generator<DocumentStream & { digest: string }> {
  for (const contentId of repository.listStreams()) {
    if (!contentId.startsWith(MANIFEST_PREFIX)) continue;
    const stream = repository.streamObject(contentId);
    if (stream === undefined) continue;
    const digest = contentId.slice(MANIFEST_PREFIX.length);
    yield {
      digest,
      ...readDocument(repository, stream, "oci-manifest", contentId, MAX_MANIFEST),
    };
  }
}

/**
 * What comes before a collection of garbage: half-done rewrites are completed, and the manifests of one config made to share
 * it. An error is told to `warn`, and no reason not to collect: what an interrupted run has left holds what it holds.
 */
export function settleRewrites(repository: Repository, warn: (error: unknown) => void): void {
  try {
    completeRewrites(repository);
    uniteConfigs(repository);
  } catch (error) {
    warn(error);
  }
}
