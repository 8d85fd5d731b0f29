/**
 * Pulling an image into a repository.
 *
 * Order of writes, so that an interrupted pull leaves nothing that a later one trips over: objects (they have no name but
 * their digest), each layer's stream once its bytes are proven and durable, the config's stream once all layers have
 * theirs, the manifest's stream, the EROFS images, and last the tag.
 */
import { sameDigest, toHex } from "../../src/formats/digest.ts";
import {
  type ImageManifest,
  type ImagePlatform,
  isContainerImage,
  MAX_CONFIG,
  MAX_MANIFEST,
  parseConfig,
} from "../../src/formats/oci.ts";
import { tagRef } from "../../src/formats/oci-tag.ts";
import type { Tree } from "../../src/model/tree.ts";
import { layerCompression } from "../decompress.ts";
import type { Repository } from "../repository/repository.ts";
import { commitImages, completeRewrites } from "./commit.ts";
import { openImage, type StoredImage, tagImage } from "./image.ts";
import { importLayers, type LayerProgress, type LayerWork } from "./import-layers.ts";
import { findLayer, type ImportStats, layerContentId } from "./layer.ts";
import { addReferrer } from "./referrers.ts";
import { resolveManifest } from "./resolve.ts";
import {
  configContentId,
  configRef,
  imageRef,
  isImageRef,
  manifestContentId,
  type ObjectDigest,
  readDocument,
  writeConfigStream,
  writeManifestStream,
} from "./streams.ts";
import { readBlob, sha256Digest, type Transport } from "./transport.ts";

/** Of `{}`, the config of artifacts that have nothing to say there. */
const EMPTY_CONFIG = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

export interface LayerPlan {
  readonly digest: string;
  /** As it is fetched, in bytes. */
  readonly size: number;
  /** In the repository already. */
  readonly present: boolean;
}

export interface PulledLayer extends LayerPlan {
  /** Bytes of it that were fetched. */
  readonly fetched: number;
}

export interface PullProgress extends LayerProgress {
  /** The manifest is known: its layers, in order. */
  layers?(plans: readonly LayerPlan[]): void;
  /** All layers are there; the filesystem images are being made. */
  committing?(): void;
}

export interface PullOptions {
  /** The tag that the image gets. */
  readonly name: string;
  readonly platform: ImagePlatform;
  /** Also make the image that a machine boots. */
  readonly bootable: boolean;
  readonly progress?: PullProgress;
}

export interface PullResult {
  readonly name: string;
  readonly manifestDigest: string;
  readonly configDigest: string;
  /** fs-verity digest of the manifest's stream, in hex. */
  readonly manifestVerity: string;
  readonly layers: readonly PulledLayer[];
  readonly stats: ImportStats;
  /** fs-verity digest of the image in the repository's default format, in hex; an artifact has none. */
  readonly image: string | undefined;
  /** That of the image that a machine boots, if it was asked for. */
  readonly bootImage: string | undefined;
  /** What that was made of, if this pull has made it. */
  readonly bootTree: Tree | undefined;
}

/**
 * Brings the image that the transport's reference names into the repository and tags it. What is there already is neither
 * fetched nor written again. An artifact's layers are kept as they are, and there is no filesystem image of it. What has a
 * subject becomes known as a referrer of it.
 */
export async function pull(
  repository: Repository,
  transport: Transport,
  { name, platform, bootable, progress = {} }: PullOptions,
): Promise<PullResult> {
  tagRef(name); // throws for what cannot be a name, before anything is fetched
  repository.requireWritable();
  const { bytes, digest, manifest } = await resolveManifest(transport, platform);
  const artifact = !isContainerImage(manifest);
  if (!artifact) requireTarLayers(manifest);
  else if (bootable)
    throw new Error(
      `manifest ${digest}: an artifact, whose config is ${manifest.config.mediaType}; only a container image can be bootable`,
    );

  const config = await obtainConfig(repository, transport, manifest);
  const work = missingLayers(repository, manifest, config.diffIds);
  const missing = new Set(work.map(({ index }) => index));
  const layers = manifest.layers.map((layer, index) => ({
    digest: layer.digest,
    size: layer.size,
    present: !missing.has(index),
  }));
  progress.layers?.(layers);
  const fetched = layers.map(({ size, present }) => (present ? 0 : size));
  const counted: PullProgress = {
    ...progress,
    partial(index, size) {
      fetched[index] = size;
      progress.partial?.(index, size);
    },
    whole(index, why) {
      fetched[index] = layers[index]!.size;
      progress.whole?.(index, why);
    },
  };
  const stats = await importLayers(repository, transport, work, { progress: counted });

  // From here on all of it happens in one go: another pull of the same image in this process does not come between.
  progress.committing?.();
  completeRewrites(repository);
  writeDocuments(repository, { digest, bytes, manifest }, config);
  let images: Images = NO_IMAGES;
  if (!artifact) {
    const image = openImage(repository, `@${digest}`);
    images = imagesOf(repository, image, bootable) ?? makeImages(repository, image, bootable);
  }
  if (manifest.subject !== undefined) addReferrer(repository, manifest.subject.digest, digest);
  tagImage(repository, digest, name);
  return {
    name,
    manifestDigest: digest,
    configDigest: manifest.config.digest,
    manifestVerity: toHex(repository.streamObject(manifestContentId(digest))!),
    layers: layers.map((layer, index) => ({ ...layer, fetched: fetched[index]! })),
    stats,
    ...images,
  };
}

/** Throws before anything is fetched if there is something that no filesystem can be made of. */
function requireTarLayers(manifest: ImageManifest): void {
  for (const [index, layer] of manifest.layers.entries()) {
    if (layerCompression(layer.mediaType) === undefined)
      throw new Error(
        `layer ${index + 1} (${layer.digest}): has the media type ${layer.mediaType}; expected a tar layer`,
      );
  }
}

interface Config {
  readonly bytes: Uint8Array;
  /** One for each layer of the manifest; of an artifact's layers their own digests. */
  readonly diffIds: readonly string[];
}

/** The config, from the repository if it is there. */
async function obtainConfig(
  repository: Repository,
  transport: Transport,
  manifest: ImageManifest,
): Promise<Config> {
  const { config, layers } = manifest;
  const name = `config ${config.digest}`;
  const stored = readConfig(repository, config.digest);
  let bytes = stored?.genuine ? stored.bytes : undefined;
  try {
    bytes ??= await readBlob(transport, config, MAX_CONFIG);
  } catch (error) {
    throw new Error(name, { cause: error });
  }
  if (!isContainerImage(manifest)) return { bytes, diffIds: layers.map(({ digest }) => digest) };
  const { diffIds } = parseConfig(bytes, name);
  if (diffIds.length !== layers.length)
    throw new Error(
      `${name}: states ${diffIds.length} diff_ids; the manifest has ${layers.length} layers`,
    );
  return { bytes, diffIds };
}

/**
 * A config that is in the repository. It is not `genuine` if its digest is another one: of images with Docker's media types,
 * composefs-rs stores converted documents under the digests of those that they were made of.
 */
function readConfig(repository: Repository, digest: string) {
  const stream = repository.streamObject(configContentId(digest));
  if (stream === undefined) return undefined;
  const name = `config ${digest}`;
  const document = readDocument(repository, stream, "oci-config", name, MAX_CONFIG);
  return { ...document, genuine: sha256Digest(document.bytes) === digest };
}

/** Whether a manifest is in the repository, the one with that digest, and its stream refers to just what it should. */
function hasManifest(
  repository: Repository,
  digest: string,
  refs: ReadonlyMap<string, ObjectDigest>,
): boolean {
  const stream = repository.streamObject(manifestContentId(digest));
  if (stream === undefined) return false;
  const name = `manifest ${digest}`;
  const stored = readDocument(repository, stream, "oci-manifest", name, MAX_MANIFEST);
  return sha256Digest(stored.bytes) === digest && sameRefs(stored.refs, refs);
}

/** The layers whose streams are not there, each once. */
function missingLayers(
  repository: Repository,
  manifest: ImageManifest,
  diffIds: readonly string[],
): LayerWork[] {
  const asIs = !isContainerImage(manifest);
  const work = new Map<string, LayerWork>();
  for (const [index, descriptor] of manifest.layers.entries()) {
    const diffId = diffIds[index]!;
    if (work.has(diffId) || findLayer(repository, diffId, asIs) !== undefined) continue;
    work.set(diffId, { index, descriptor, diffId, asIs });
  }
  return [...work.values()];
}

/** The streams of the config and of the manifest. Those that are there, genuine and complete stay as they are. */
export function writeDocuments(repository: Repository, documents: Documents, config: Config): void {
  // Between reading the config's stream and writing it, nobody else may add to it.
  repository.rewriting(() => rewriteDocuments(repository, documents, config));
}

interface Documents {
  readonly digest: string;
  readonly bytes: Uint8Array;
  readonly manifest: ImageManifest;
}

function rewriteDocuments(
  repository: Repository,
  { digest, bytes, manifest }: Documents,
  config: Config,
): void {
  const layers = new Map<string, ObjectDigest>();
  for (const diffId of config.diffIds) {
    const stream = findLayer(repository, diffId, !isContainerImage(manifest));
    if (stream === undefined) throw new Error(`stream ${layerContentId(diffId)} has disappeared`);
    layers.set(diffId, stream);
  }

  const configDigest = manifest.config.digest;
  const stored = readConfig(repository, configDigest);
  const images = [...(stored?.refs ?? [])].filter(([name]) => isImageRef(name));
  const complete = isContainerImage(manifest)
    ? sameRefs(stored?.refs ?? new Map(), new Map([...layers, ...images]))
    : true; // many artifacts may share their config, and only their manifests name their layers
  const stream =
    stored?.genuine && complete
      ? stored.stream
      : writeConfigStream(
          repository,
          configDigest,
          config.bytes,
          configDigest === EMPTY_CONFIG ? [] : layers,
          images,
        );

  if (!hasManifest(repository, digest, new Map([[configRef(configDigest), stream], ...layers])))
    writeManifestStream(repository, digest, bytes, { digest: configDigest, stream }, layers);
}

function sameRefs(
  a: ReadonlyMap<string, ObjectDigest>,
  b: ReadonlyMap<string, ObjectDigest>,
): boolean {
  const has = ([name, digest]: [string, ObjectDigest]) => {
    const other = b.get(name);
    return other !== undefined && sameDigest(digest, other);
  };
  return a.size === b.size && [...a].every(has);
}

type Images = Pick<PullResult, "image" | "bootImage" | "bootTree">;
const NO_IMAGES: Images = { image: undefined, bootImage: undefined, bootTree: undefined };

/** The images that an earlier pull has made, if all that are asked for are there. */
function imagesOf(
  repository: Repository,
  { images }: StoredImage,
  bootable: boolean,
): Images | undefined {
  const linked = new Set(repository.listImages());
  const find = (forBoot: boolean) => {
    const found = repository.formats.map((format) => {
      const digest = images.get(imageRef(format, forBoot, "allowlist-only"));
      const intact = digest !== undefined && repository.hasObject(digest);
      return intact && linked.has(toHex(digest)) ? toHex(digest) : undefined;
    });
    return found.includes(undefined) ? undefined : found[0];
  };
  const image = find(false);
  const bootImage = bootable ? find(true) : undefined;
  if (image === undefined || (bootable && bootImage === undefined)) return undefined;
  return { ...NO_IMAGES, image, bootImage };
}

/** Makes the images. The ones that count are in the default format, which is the first one. */
function makeImages(repository: Repository, image: StoredImage, bootable: boolean): Images {
  const made = commitImages(repository, image, { bootable });
  const find = (forBoot: boolean) => made.find((one) => one.bootable === forBoot);
  const boot = find(true);
  return {
    image: toHex(find(false)!.digest),
    bootImage: boot && toHex(boot.digest),
    bootTree: boot?.tree,
  };
}
