/** Images that podman and others keep on this machine, read where they are: nothing is unpacked twice. */
import { existsSync, readdirSync } from "node:fs";
import { resolve } from "node:path";
import { setTimeout } from "node:timers/promises";
import {
  isContainerImage,
  isIndex,
  MAX_CONFIG,
  MAX_MANIFEST,
  parseConfig,
  parseManifest,
} from "../../../src/formats/oci.ts";
import { AT_EMPTY_PATH } from "../../../src/linux/constants.ts";
import type { Fd, Linux } from "../../../src/linux/linux.ts";
import { linux as thisMachine } from "../../linux.ts";
import { formatLocation, type RegistryLocation } from "../location.ts";
import type { StorageReference } from "../reference.ts";
import type { ConfPlaces } from "../registries.ts";
import {
  type BlobDescriptor,
  type ManifestBytes,
  requireMatch,
  sha256Digest,
  type Transport,
  type UnpackedLayer,
} from "../transport.ts";
import { type FoundImage, findImage } from "./find-image.ts";
import { storePlaces } from "./places.ts";
import { Store, type StoredImageRecord } from "./store.ts";

const DRIVER = "overlay";
/** Others hold their locks while they unpack a layer. In milliseconds. */
const LOCK_PATIENCE = 600_000;
const LOCK_RETRY = 50;
const READ_SIZE = 1 << 16;

/** An image in a store of this machine, which nobody removes as long as it is open. */
export interface StoredImage extends Transport {
  /** The scopes of a signature policy that it is in, the narrowest first: containers-policy.json(5). */
  readonly scopes: readonly string[];
}

/**
 * Opens the image that a reference means. `undefined`: it has to be asked for through skopeo, because the store is of
 * another driver, or a user's, whose files may belong to IDs that only a user namespace of podman's gives access to, or
 * because a layer of it is not kept in a way that its archive can be put together from.
 *
 * Throws where the store has no such image.
 */
export async function openStoredImage(
  reference: StorageReference,
  places: ConfPlaces,
  linux: Linux = thisMachine,
): Promise<StoredImage | undefined> {
  if (reference.store === undefined && places.uid !== 0) return undefined;
  const { driver, graphRoot, others } = storePlaces(reference.store, places);
  if (driver !== undefined && driver !== DRIVER) return undefined;
  const stores: Store[] = [];
  let image: Image | undefined;
  let whole = false;
  try {
    for (const path of [graphRoot, ...others]) {
      const store = Store.open(linux, path);
      if (store !== undefined) stores.push(store);
      else if (path === graphRoot && hasImages(path)) return undefined;
    }
    if (stores.length === 0) throw new Error(`${graphRoot}: there is no containers' storage`);
    for (const store of stores) await lock(store);
    image = new Image(linux, stores, findImage(stores, reference), graphRoot);
    whole = image.isWhole();
    return whole ? image : undefined;
  } finally {
    if (!whole) {
      image?.closeLayers();
      for (const store of stores) store.close();
    }
  }
}

/** Whether there is a store, of whatever driver. */
function hasImages(path: string): boolean {
  return existsSync(path) && readdirSync(path).some((name) => name.endsWith("-images"));
}

/** Waits until nobody changes the store. */
async function lock(store: Store): Promise<void> {
  for (let waited = 0; !store.tryLock(); waited += LOCK_RETRY) {
    if (waited >= LOCK_PATIENCE) throw new Error(`${store.path}: another program keeps it locked`);
    await setTimeout(LOCK_RETRY);
  }
}

class Image implements StoredImage {
  readonly scopes: readonly string[];
  readonly #linux: Linux;
  readonly #stores: readonly Store[];
  readonly #store: Store;
  readonly #image: StoredImageRecord;
  /** The manifest or index that was asked for. */
  readonly #digest: string | undefined;
  /** By diff_id. */
  readonly #layers = new Map<string, KeptLayer[]>();
  readonly #unpacked = new Map<string, UnpackedLayer>();
  readonly #open: Fd[] = [];

  constructor(
    linux: Linux,
    stores: readonly Store[],
    { store, image, location }: FoundImage,
    graphRoot: string,
  ) {
    this.#linux = linux;
    this.#stores = stores;
    this.#store = store;
    this.#image = image;
    this.#digest = location?.digest;
    this.scopes = scopesOf(resolve(graphRoot), location, image.id);
    // what the image's own store has counts most, and of copies with other owners the original
    for (const at of [store, ...stores.filter((one) => one !== store)]) {
      for (const layer of at.layers().sort((x, y) => Number(x.mapped) - Number(y.mapped))) {
        if (layer.diffId === undefined) continue;
        const same = this.#layers.get(layer.diffId);
        const kept = { store: at, id: layer.id };
        if (same === undefined) this.#layers.set(layer.diffId, [kept]);
        else same.push(kept);
      }
    }
  }

  /** Whether all of its layers can be put together. Throws where its manifest or config makes no sense. */
  isWhole(): boolean {
    const bytes = this.#file("manifest", MAX_MANIFEST);
    if (isIndex(bytes, undefined)) return true; // which image of it is wanted is not known here
    const manifest = parseManifest(bytes, `${this.#where}: manifest`);
    if (!isContainerImage(manifest)) return false;
    const config = this.#file(manifest.config.digest, MAX_CONFIG);
    const { diffIds } = parseConfig(config, `${this.#where}: config`);
    return diffIds.every((diffId) => this.unpacked(diffId) !== undefined);
  }

  async root(): Promise<ManifestBytes> {
    const digest = this.#digest;
    const key = digest === undefined ? undefined : `manifest-${digest}`;
    const named = key && this.#store.imageFile(this.#image.id, key, MAX_MANIFEST);
    const bytes = named || this.#file("manifest", MAX_MANIFEST);
    const expected = digest ?? this.#image.digests.get("manifest");
    const actual = sha256Digest(bytes);
    if (expected !== undefined && actual !== expected)
      throw new Error(`${this.#where}: manifest has the digest ${actual}; expected ${expected}`);
    return { bytes, mediaType: undefined, digest: actual };
  }

  async manifest(descriptor: BlobDescriptor): Promise<ManifestBytes> {
    const bytes = this.#file(`manifest-${descriptor.digest}`, MAX_MANIFEST);
    try {
      requireMatch(bytes, descriptor);
    } catch (error) {
      throw new Error(`${this.#where}: manifest ${descriptor.digest}`, { cause: error });
    }
    return { bytes, mediaType: descriptor.mediaType, digest: descriptor.digest };
  }

  /** Only what is no layer: those are kept as their files. */
  async *blob({ digest }: BlobDescriptor): AsyncGenerator<Uint8Array, void, undefined> {
    yield this.#file(digest, MAX_CONFIG);
  }

  unpacked(diffId: string): UnpackedLayer | undefined {
    const known = this.#unpacked.get(diffId);
    if (known !== undefined) return known;
    for (const layer of this.#layers.get(diffId) ?? []) {
      const unpacked = this.#openLayer(layer);
      if (unpacked === undefined) continue;
      this.#unpacked.set(diffId, unpacked);
      return unpacked;
    }
    return undefined;
  }

  /** Closes what was opened of layers. */
  closeLayers(): void {
    for (const fd of this.#open.splice(0)) this.#linux.close(fd);
  }

  async close(): Promise<void> {
    this.closeLayers();
    for (const store of this.#stores) store.close();
  }

  /** What belongs to a layer may be in different stores. */
  #openLayer({ store, id }: KeptLayer): UnpackedLayer | undefined {
    const stores = [store, ...this.#stores.filter((one) => one !== store)];
    const tarSplit = this.#openIn(stores, (one) => one.openTarSplit(id));
    const diff = tarSplit && this.#openIn(stores, (one) => one.openDiff(id));
    if (tarSplit === undefined || diff === undefined) return undefined;
    const { size } = this.#linux.statx(tarSplit.fd, "", AT_EMPTY_PATH);
    return {
      compression: "gzip",
      size,
      tarSplit: () => contentOf(this.#linux, tarSplit.fd),
      files: { directory: diff.fd, path: `${diff.store.path}/overlay/${id}/diff` },
    };
  }

  #openIn(stores: readonly Store[], open: (store: Store) => Fd | undefined) {
    for (const store of stores) {
      const fd = open(store);
      if (fd === undefined) continue;
      this.#open.push(fd);
      return { store, fd };
    }
    return undefined;
  }

  #file(key: string, limit: number): Uint8Array {
    const bytes = this.#store.imageFile(this.#image.id, key, limit);
    if (bytes === undefined) throw new Error(`${this.#where}: has no ${key}`);
    return bytes;
  }

  get #where(): string {
    return `${this.#store.path}: image ${this.#image.id}`;
  }
}

interface KeptLayer {
  readonly store: Store;
  readonly id: string;
}

/** The bytes of a file, from its start. */
async function* contentOf(linux: Linux, fd: Fd): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; ; ) {
    const chunk = new Uint8Array(READ_SIZE);
    const count = linux.read(fd, chunk, at);
    if (count === 0) return;
    at += count;
    yield chunk.subarray(0, count);
  }
}

/**
 * `[overlay@ROOT]NAME:TAG@ID`, then without the ID, then the name and what it is below, then all of the store, with the
 * driver and without.
 */
function scopesOf(root: string, location: RegistryLocation | undefined, id: string): string[] {
  const store = `[${DRIVER}@${root}]`;
  const names: string[] = [];
  if (location !== undefined) {
    const { registry, repository, tag, digest } = location;
    names.push(`${formatLocation(location)}@${id}`, formatLocation(location));
    if (tag !== undefined && digest !== undefined)
      names.push(formatLocation({ ...location, digest: undefined }));
    const parts = `${registry}/${repository}`.split("/");
    names.push(...parts.map((_, i) => parts.slice(0, parts.length - i).join("/")));
  } else {
    names.push(`@${id}`);
  }
  return [...names.map((name) => store + name), store, `[${root}]`];
}
