/**
 * Images in what `docker save` writes: a tar archive with `manifest.json`, which names a config and layers for each
 * image. Layers are plain tars as a rule, but other tools compress them.
 *
 * There is no manifest of a registry in it, so one is made up of what is there: the digests that it names are those of
 * the config and of the layers' files.
 */
import { createHash } from "node:crypto";
import { parseJsonList } from "../../src/formats/json-document.ts";
import { MAX_CONFIG, MAX_MANIFEST, MEDIA_TYPES, parseConfig } from "../../src/formats/oci.ts";
import type { Compression } from "../decompress.ts";
import { type Archive, type ArchiveFile, openArchive } from "./archive.ts";
import { formatLocation, parseLocation } from "./location.ts";
import type { DockerArchiveReference } from "./reference.ts";
import {
  type BlobDescriptor,
  type ManifestBytes,
  requireMatch,
  sha256Digest,
  type Transport,
} from "./transport.ts";

const LAYER_TYPES: Readonly<Record<Compression, string>> = {
  none: "application/vnd.docker.image.rootfs.diff.tar",
  gzip: "application/vnd.docker.image.rootfs.diff.tar.gzip",
  zstd: "application/vnd.docker.image.rootfs.diff.tar.zstd",
};

/** An image of the archive, as its `manifest.json` lists it. */
interface Item {
  readonly config: string;
  /** As they are written: `debian:13`, `quay.io/a/b:c`. */
  readonly tags: readonly string[];
  readonly layers: readonly string[];
}

/** Opens an archive and finds the image that the reference asks for. Throws if it is not there. */
export async function openDockerArchive(reference: DockerArchiveReference): Promise<Transport> {
  const archive = await openArchive(reference.file);
  try {
    const bytes = archive.read("manifest.json", MAX_MANIFEST);
    const name = `${archive.path}: manifest.json`;
    const items = parseJsonList(bytes, name, MAX_MANIFEST).map((item) => ({
      config: item.string("Config"),
      tags: item.has("RepoTags") ? item.strings("RepoTags") : [],
      layers: item.strings("Layers"),
    }));
    return await makeUpManifest(archive, choose(items, reference, name));
  } catch (error) {
    archive.close();
    throw error;
  }
}

function choose(items: readonly Item[], reference: DockerArchiveReference, where: string): Item {
  const { index, name } = reference;
  const images = `${items.length} ${items.length === 1 ? "image" : "images"}`;
  if (index !== undefined) {
    const item = items[index];
    if (item === undefined) throw new Error(`${where}: has ${images}, none is @${index}`);
    return item;
  }
  const chosen =
    name === undefined ? items : items.filter(({ tags }) => tags.some((tag) => full(tag) === name));
  if (chosen.length === 1) return chosen[0]!;
  const tags = items.flatMap((item, at) => item.tags[0] ?? `@${at}`);
  const there = `${images}${tags.length === 0 ? "" : ` (${tags.slice(0, 10).join(", ")})`}`;
  if (name === undefined) {
    const error = new Error(`${where}: has ${there}, expected one`);
    const hint = `name one: ${reference.source}:NAME or ${reference.source}:@INDEX`;
    throw items.length === 0 ? error : Object.assign(error, { hint });
  }
  throw new Error(
    chosen.length === 0
      ? `${where}: none is ${name}; it has ${there}`
      : `${where}: ${chosen.length} images are ${name}`,
  );
}

/** The name in full, as references have it; what is none is nobody's. */
function full(tag: string): string | undefined {
  try {
    return formatLocation(parseLocation(tag));
  } catch {
    return undefined;
  }
}

async function makeUpManifest(archive: Archive, item: Item): Promise<Transport> {
  const configName = `${archive.path}: ${item.config}`;
  const config = archive.read(item.config, MAX_CONFIG);
  const { diffIds } = parseConfig(config, configName);
  if (diffIds.length !== item.layers.length)
    throw new Error(
      `${configName}: states ${diffIds.length} diff_ids; manifest.json has ${item.layers.length} layers`,
    );

  const files = new Map<string, ArchiveFile>();
  const layers: BlobDescriptor[] = [];
  for (const [index, name] of item.layers.entries()) {
    const file = archive.require(name);
    const compression = archive.compression(file);
    const digest =
      compression === "none" ? diffIds[index]! : await digestOf(archive, name, file, files);
    files.set(digest, file);
    layers.push({ mediaType: LAYER_TYPES[compression], size: file.size, digest });
  }
  const descriptor: BlobDescriptor = {
    mediaType: MEDIA_TYPES.dockerConfig,
    size: config.length,
    digest: sha256Digest(config),
  };
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MEDIA_TYPES.dockerManifest,
      config: descriptor,
      layers,
    }),
  );
  return new DockerArchive(archive, new Uint8Array(manifest), config, files);
}

const BLOB_NAME = /^blobs\/sha256\/([0-9a-f]{64})$/;

/** A compressed layer's digest: its name says it (and is checked when it is read), or else it is computed. */
async function digestOf(
  archive: Archive,
  name: string,
  file: ArchiveFile,
  known: ReadonlyMap<string, ArchiveFile>,
): Promise<string> {
  const named = BLOB_NAME.exec(name)?.[1];
  if (named !== undefined) return `sha256:${named}`;
  for (const [digest, other] of known) if (other === file) return digest;
  const hash = createHash("sha256");
  for await (const chunk of archive.stream(file)) hash.update(chunk);
  return `sha256:${hash.digest("hex")}`;
}

class DockerArchive implements Transport {
  readonly #archive: Archive;
  readonly #root: ManifestBytes;
  readonly #config: Uint8Array;
  readonly #layers: ReadonlyMap<string, ArchiveFile>;

  constructor(
    archive: Archive,
    manifest: Uint8Array,
    config: Uint8Array,
    layers: ReadonlyMap<string, ArchiveFile>,
  ) {
    this.#archive = archive;
    this.#config = config;
    this.#layers = layers;
    this.#root = {
      bytes: manifest,
      mediaType: MEDIA_TYPES.dockerManifest,
      digest: sha256Digest(manifest),
    };
  }

  async root(): Promise<ManifestBytes> {
    return this.#root;
  }

  async manifest(descriptor: BlobDescriptor): Promise<ManifestBytes> {
    requireMatch(this.#root.bytes, descriptor);
    return this.#root;
  }

  async *blob(descriptor: BlobDescriptor, signal?: AbortSignal) {
    const file = this.#layers.get(descriptor.digest);
    if (file !== undefined) yield* this.#archive.stream(file, signal);
    else if (descriptor.digest === sha256Digest(this.#config)) yield this.#config;
    else throw new Error(`${this.#archive.path}: has no blob ${descriptor.digest}`);
  }

  async close(): Promise<void> {
    this.#archive.close();
  }
}
