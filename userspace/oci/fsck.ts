/** Checking the images of a repository: from each tag to the layers' objects. Nothing is written. */
import { type ByteString, display, toText } from "../../src/formats/bytestring.ts";
import { toHex } from "../../src/formats/digest.ts";
import {
  type ImageConfig,
  type ImageManifest,
  isContainerImage,
  MAX_CONFIG,
  MAX_MANIFEST,
  parseConfig,
  parseManifest,
} from "../../src/formats/oci.ts";
import { decodeTag, TAG_DIRECTORY } from "../../src/formats/oci-tag.ts";
import { type LinkFile, listReferences } from "../repository/contents.ts";
import type { Finding } from "../repository/finding.ts";
import { baseName } from "../repository/layout.ts";
import type { Repository } from "../repository/repository.ts";
import { manifestOfTag } from "./image.ts";
import {
  configRef,
  type DocumentStream,
  manifestContentId,
  type ObjectDigest,
  readDocument,
} from "./streams.ts";
import { sha256Digest } from "./transport.ts";

/** The kinds of composefs-rs. */
export type ImageFindingKind =
  | "manifest-read-failed"
  | "manifest-digest-mismatch"
  | "manifest-parse-failed"
  | "config-ref-missing"
  | "config-read-failed"
  | "config-digest-mismatch"
  | "config-parse-failed"
  | "layer-ref-missing"
  | "layer-stream-missing"
  | "layer-check-failed"
  | "layer-object-missing"
  | "seal-image-missing"
  | "artifact-layer-ref-missing"
  | "artifact-layer-object-missing"
  | "ref-resolve-failed"
  | "invalid-ref-name";

export type ImageFinding = Finding<ImageFindingKind>;

export interface ImagesReport {
  /** Tags. */
  readonly checked: number;
  readonly corrupted: number;
  readonly findings: readonly ImageFinding[];
}

/** A label of old tools: the digest of the image that a config was sealed to. */
const SEAL_LABEL = "containers.composefs.fsverity";

/** Checks every tag. */
export function checkImages(repository: Repository): ImagesReport {
  const findings: ImageFinding[] = [];
  let checked = 0;
  let corrupted = 0;
  const check = new ImageCheck(repository);
  for (const link of listReferences(repository.files, "streams")) {
    if (!link.name.startsWith(`${TAG_DIRECTORY}/`)) continue;
    checked++;
    const component = link.name.slice(TAG_DIRECTORY.length + 1) as ByteString;
    const tag = toText(component);
    const where = tag === undefined ? display(component) : decodeTag(tag);
    const found = [...check.tag(link, where)].map((finding) => ({ where, ...finding }));
    if (found.length > 0) corrupted++;
    findings.push(...found);
  }
  return { checked, corrupted, findings };
}

type Wrong = Omit<ImageFinding, "where">;

class ImageCheck {
  readonly #repository: Repository;
  /** What is wrong with a layer, by the digest of its stream: tags share layers. */
  readonly #layers = new Map<string, readonly Wrong[]>();

  constructor(repository: Repository) {
    this.#repository = repository;
  }

  *tag({ name, target }: LinkFile, tag: string): Generator<Wrong> {
    const component = name.slice(TAG_DIRECTORY.length + 1);
    if (tag.startsWith("@")) yield { kind: "invalid-ref-name", what: "a leading @ is for digests" };
    if (component.includes("/")) {
      yield { kind: "invalid-ref-name", what: "a tag is one component of a path" };
      return;
    }
    const entry = target === undefined ? undefined : baseName(target);
    const digest = entry === undefined ? undefined : manifestOfTag(entry);
    if (digest === undefined) {
      const what = `it leads to ${target === undefined ? "nothing" : display(target)}, which is no manifest`;
      yield { kind: "ref-resolve-failed", what };
      return;
    }
    yield* this.#manifest(digest);
  }

  *#manifest(digest: string): Generator<Wrong> {
    const repository = this.#repository;
    let stream: DocumentStream;
    try {
      const object = repository.streamObject(manifestContentId(digest));
      if (object === undefined) {
        yield { kind: "manifest-read-failed", what: `there is no ${manifestContentId(digest)}` };
        return;
      }
      stream = readDocument(repository, object, "oci-manifest", digest, MAX_MANIFEST);
    } catch (cause) {
      yield { kind: "manifest-read-failed", cause };
      return;
    }
    const actual = sha256Digest(stream.bytes);
    if (actual !== digest) {
      yield { kind: "manifest-digest-mismatch", what: `${digest} has the digest ${actual}` };
      return;
    }
    let manifest: ImageManifest;
    try {
      manifest = parseManifest(stream.bytes, digest);
    } catch (cause) {
      yield { kind: "manifest-parse-failed", cause };
      return;
    }
    const config = stream.refs.get(configRef(manifest.config.digest));
    if (config === undefined) {
      yield { kind: "config-ref-missing", what: `no reference to ${manifest.config.digest}` };
      return;
    }
    yield* this.#config(config, manifest, stream);
  }

  *#config(object: ObjectDigest, manifest: ImageManifest, owner: DocumentStream): Generator<Wrong> {
    const { digest } = manifest.config;
    let stream: DocumentStream;
    try {
      stream = readDocument(this.#repository, object, "oci-config", digest, MAX_CONFIG);
    } catch (cause) {
      yield { kind: "config-read-failed", cause };
      return;
    }
    const actual = sha256Digest(stream.bytes);
    if (actual !== digest) {
      yield { kind: "config-digest-mismatch", what: `${digest} has the digest ${actual}` };
      return;
    }
    if (!isContainerImage(manifest)) {
      // many artifacts may share their config, so their layers are the manifest's
      for (const layer of manifest.layers) yield* this.#layer(layer.digest, owner, "artifact-");
      return;
    }
    let config: ImageConfig;
    try {
      config = parseConfig(stream.bytes, digest);
    } catch (cause) {
      yield { kind: "config-parse-failed", cause };
      return;
    }
    for (const diffId of config.diffIds) yield* this.#layer(diffId, stream, "");
    const seal = config.labels.get(SEAL_LABEL);
    if (seal !== undefined && !this.#repository.listImages().includes(seal)) {
      yield { kind: "seal-image-missing", what: `no image ${seal}, which the config is sealed to` };
    }
  }

  *#layer(digest: string, owner: DocumentStream, prefix: "" | "artifact-"): Generator<Wrong> {
    const stream = owner.refs.get(digest);
    if (stream === undefined) {
      yield { kind: `${prefix}layer-ref-missing`, what: `no reference to ${digest}` };
      return;
    }
    const key = toHex(stream);
    const known = this.#layers.get(key);
    const found = known ?? [...this.#layerStream(digest, stream, prefix)];
    if (known === undefined) this.#layers.set(key, found);
    yield* found;
  }

  *#layerStream(digest: string, stream: ObjectDigest, prefix: "" | "artifact-"): Generator<Wrong> {
    const repository = this.#repository;
    const of = `layer ${digest}`;
    const missing = `${prefix}layer-object-missing` as const;
    try {
      if (!repository.hasObject(stream)) {
        const kind = prefix === "" ? "layer-stream-missing" : missing;
        yield { kind, what: `${of}: its stream is missing`, object: stream };
        return;
      }
      for (const object of repository.readStreamObject(stream).objectRefs) {
        if (repository.hasObject(object)) continue;
        yield { kind: missing, what: `${of}: object ${toHex(object)} is missing`, object };
      }
    } catch (error) {
      const cause = new Error(of, { cause: error });
      yield { kind: "layer-check-failed", cause, object: stream };
    }
  }
}
