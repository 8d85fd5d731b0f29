/**
 * Putting back what is damaged or missing in a repository, from where its images came from: of a layer that has lost an
 * object, the whole blob is fetched again and verified as a pull does. What was computed is computed again: streams, and
 * filesystem images, as long as they come out as they were.
 *
 * Nothing that is damaged is removed: an object takes its place when it is complete. So an interrupted repair has repaired
 * a part, and can be repeated.
 */
import { toHex } from "../../src/formats/digest.ts";
import {
  type ImageManifest,
  isContainerImage,
  MAX_CONFIG,
  MAX_MANIFEST,
  parseConfig,
  parseManifest,
} from "../../src/formats/oci.ts";
import { DigestSet } from "../../src/model/digest-set.ts";
import type { Finding } from "../repository/finding.ts";
import type { Repository } from "../repository/repository.ts";
import { sealObject } from "../repository/seal.ts";
import { listTags, openImage } from "./image.ts";
import { importLayers, type LayerProgress, type LayerWork } from "./import-layers.ts";
import { findLayer } from "./layer.ts";
import { writeDocuments } from "./pull.ts";
import { listReferrers } from "./referrers.ts";
import { remakeImages } from "./remake-images.ts";
import { findManifest, type OpenTransport, Source } from "./source.ts";
import { configContentId, manifestContentId, type ObjectDigest, readDocument } from "./streams.ts";
import { readBlob, sha256Digest } from "./transport.ts";

export interface RepairOptions {
  /** Opens where an image came from. */
  readonly open: OpenTransport;
  /** References to images, by the digests of their manifests, besides those that their tags are. */
  readonly sources?: ReadonlyMap<string, readonly string[]>;
  /** Told what is being done, for people. */
  readonly onStep?: (what: string) => void;
  readonly progress?: LayerProgress;
}

/** An image that could not be made whole. */
export interface RepairFailure {
  /** Its tags; or which one's referrer it is. */
  readonly image: string;
  readonly cause: unknown;
}

/**
 * Repairs what a check has found, as far as it belongs to images or artifacts that have a tag, or to referrers of those.
 * Where something came from is what `sources` or its tag says, if that is a reference; referrers came from where their subject did.
 * Check again afterwards: only that tells what is whole now.
 */
export async function repairImages(
  repository: Repository,
  findings: readonly Finding<string>[],
  options: RepairOptions,
): Promise<RepairFailure[]> {
  repository.requireWritable();
  const images = findImages(repository, options.sources).map(({ digest, sources, name }) => ({
    digest,
    name,
    source: new Source(sources, digest, options.open),
  }));
  // Images share layers: one that does not tell where it came from may be whole after another one is.
  images.sort((a, b) => Number(b.source.isKnown) - Number(a.source.isKnown));

  const wanted = distrustDamaged(repository, findings, options);
  const failures: RepairFailure[] = [];
  try {
    for (const { digest, name, source } of images) {
      try {
        await new ImageRepair(repository, digest, source, wanted, options).run();
      } catch (cause) {
        failures.push({ image: name, cause });
      } finally {
        await source.close();
      }
    }
  } finally {
    repository.trustObjects();
  }
  return failures;
}

/** Every object that a finding is about. They count as missing from now on, until they are stored anew. */
function distrustDamaged(
  repository: Repository,
  findings: readonly Finding<string>[],
  { onStep }: RepairOptions,
): DigestSet {
  const { platform, root, hash } = repository.files;
  const sealed = new DigestSet(hash);
  for (const { kind, object } of findings) {
    if (kind !== "object-verity-missing" || object === undefined) continue;
    try {
      if (sealObject(platform, root, object, hash) === "damaged") continue;
      sealed.add(object);
      onStep?.(`object ${toHex(object)}: fs-verity enabled`);
    } catch {} // then it is stored anew
  }
  const wanted = new DigestSet(hash);
  for (const { object } of findings) {
    if (object === undefined || sealed.has(object)) continue;
    wanted.add(object);
    repository.distrustObject(object);
  }
  return wanted;
}

interface Named {
  /** Of the manifest. */
  readonly digest: string;
  /** What may tell where it came from. */
  readonly sources: readonly string[];
  /** For people. */
  readonly name: string;
}

/** All that has a tag, and the referrers of all that, which have none. */
function findImages(repository: Repository, sources: RepairOptions["sources"]): Named[] {
  const tagged = tagsByManifest(repository);
  const images: Named[] = [...tagged].map(([digest, tags]) => ({
    digest,
    sources: [...(sources?.get(digest) ?? []), ...tags],
    name: tags.join(", "),
  }));
  for (const subject of images) {
    for (const digest of listReferrers(repository, subject.digest)) {
      if (images.some((known) => known.digest === digest)) continue;
      // It is looked at in turn: a referrer can have referrers.
      images.push({
        digest,
        sources: subject.sources,
        name: `referrer ${digest} of ${subject.name}`,
      });
    }
  }
  return images;
}

function tagsByManifest(repository: Repository): Map<string, string[]> {
  const manifests = new Map<string, string[]>();
  for (const { tag, manifestDigest } of listTags(repository)) {
    const tags = manifests.get(manifestDigest);
    if (tags === undefined) manifests.set(manifestDigest, [tag]);
    else tags.push(tag);
  }
  return manifests;
}

class ImageRepair {
  readonly #repository: Repository;
  readonly #digest: string;
  readonly #source: Source;
  readonly #wanted: DigestSet;
  readonly #options: RepairOptions;

  constructor(
    repository: Repository,
    digest: string,
    source: Source,
    wanted: DigestSet,
    options: RepairOptions,
  ) {
    this.#repository = repository;
    this.#digest = digest;
    this.#source = source;
    this.#wanted = wanted;
    this.#options = options;
  }

  /** Goes through the image in the order in which a pull makes it. Where all is whole, nothing is done. */
  async run(): Promise<void> {
    const bytes = await this.#manifestBytes();
    const manifest = parseManifest(bytes, `manifest ${this.#digest}`);
    const config = await this.#config(manifest);
    const documents = { digest: this.#digest, bytes, manifest };
    if (!isContainerImage(manifest)) {
      const digests = manifest.layers.map(({ digest }) => digest);
      await this.#layers(manifest, digests, true);
      writeDocuments(this.#repository, documents, { bytes: config, diffIds: digests });
      return;
    }
    const { diffIds } = parseConfig(config, `config ${manifest.config.digest}`);
    if (diffIds.length !== manifest.layers.length) {
      throw new Error(`${diffIds.length} diff_ids for ${manifest.layers.length} layers`);
    }
    await this.#layers(manifest, diffIds, false);
    writeDocuments(this.#repository, documents, { bytes: config, diffIds });
    const image = openImage(this.#repository, `@${this.#digest}`);
    remakeImages(this.#repository, image, (what) => this.#step(what));
  }

  async #manifestBytes(): Promise<Uint8Array> {
    const contentId = manifestContentId(this.#digest);
    const stored = this.#document(contentId, "oci-manifest", this.#digest, MAX_MANIFEST);
    if (stored !== undefined) return stored;
    this.#step(`manifest ${this.#digest}`);
    const { bytes } = await findManifest(await this.#source.transport(), this.#digest);
    this.#repository.storeObject(bytes);
    return bytes;
  }

  async #config({ config }: ImageManifest): Promise<Uint8Array> {
    const contentId = configContentId(config.digest);
    const stored = this.#document(contentId, "oci-config", config.digest, MAX_CONFIG);
    if (stored !== undefined) return stored;
    this.#step(`config ${config.digest}`);
    const bytes = await readBlob(await this.#source.transport(), config, MAX_CONFIG);
    this.#repository.storeObject(bytes);
    return bytes;
  }

  /** A document that is in the repository and whole. */
  #document(
    contentId: string,
    kind: "oci-manifest" | "oci-config",
    digest: string,
    limit: number,
  ): Uint8Array | undefined {
    try {
      const stream = this.#repository.streamObject(contentId);
      if (stream === undefined) return undefined;
      const { bytes } = readDocument(this.#repository, stream, kind, digest, limit);
      return sha256Digest(bytes) === digest ? bytes : undefined;
    } catch {
      return undefined; // the check has said what is wrong with it
    }
  }

  /** Fetches the layers that have lost their stream or an object. `asIs`: they are an artifact's blobs. */
  async #layers(manifest: ImageManifest, diffIds: readonly string[], asIs: boolean): Promise<void> {
    const work = new Map<string, LayerWork>();
    for (const [index, diffId] of diffIds.entries()) {
      if (this.#isWhole(diffId, asIs)) continue;
      work.set(diffId, { index, diffId, descriptor: manifest.layers[index]!, asIs });
    }
    if (work.size === 0) return;
    const transport = await this.#source.transport();
    for (const { descriptor } of work.values()) this.#step(`layer ${descriptor.digest}`);
    const { progress = {} } = this.#options;
    // on this thread, for the repository knows here which objects to store anew
    await importLayers(this.#repository, transport, [...work.values()], { progress, threads: 0 });
  }

  #isWhole(diffId: string, asIs: boolean): boolean {
    const stream = findLayer(this.#repository, diffId, asIs);
    if (stream === undefined) return false;
    try {
      const { objectRefs } = this.#repository.readStreamObject(stream);
      return objectRefs.every((object) => !this.#isLost(object));
    } catch {
      this.#repository.distrustObject(stream);
      return false;
    }
  }

  #isLost(object: ObjectDigest): boolean {
    return this.#wanted.has(object) && !this.#repository.hasObject(object);
  }

  #step(what: string): void {
    this.#options.onStep?.(what);
  }
}
