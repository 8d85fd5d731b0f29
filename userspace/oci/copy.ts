/** Copying images out of a repository. */
import { createHash } from "node:crypto";
import { availableParallelism } from "node:os";
import {
  artifactType,
  type Descriptor,
  isContainerImage,
  manifestMediaType,
  parseManifest,
} from "../../src/formats/oci.ts";
import { replaceLayers } from "../../src/formats/oci-rewrite.ts";
import { CONTENT_TYPES, type Splitstream } from "../../src/formats/splitstream.ts";
import { writeAll } from "../../src/linux/files.ts";
import { compress } from "../compress.ts";
import { type Compression, layerCompression } from "../decompress.ts";
import type { Repository } from "../repository/repository.ts";
import { TemporaryFile } from "../repository/temporary-file.ts";
import { streamContent } from "./content.ts";
import { blobOfBytes, blobOfFile, type Destination, type OutgoingBlob } from "./destination.ts";
import type { StoredLayer } from "./image.ts";
import type { LayerProgress } from "./import-layers.ts";
import type { ImageWithManifest } from "./inspect.ts";
import { type BlobDescriptor, sha256Digest, verified } from "./transport.ts";

/** What became of a layer. */
export interface CopiedLayer {
  /** In the manifest that the repository has. */
  readonly source: string;
  /** In the one that was written. */
  readonly digest: string;
  /** In bytes. */
  readonly size: number;
  /** The destination had it already. */
  readonly present: boolean;
}

export interface CopyResult {
  /** Digest of the manifest that was written. It is another one if layers had to be compressed anew. */
  readonly manifestDigest: string;
  readonly configDigest: string;
  readonly layers: readonly CopiedLayer[];
}

export interface CopyProgress extends LayerProgress {
  layers?(plans: readonly { digest: string; size: number; present: boolean }[]): void;
}

const TEMPORARY_PREFIX = ".cfsboot-";
const TEMPORARY_MODE = 0o644;

/**
 * Copies an image. Manifest and config are written as they were received, and so are layers that were not compressed. Of a
 * compressed layer the repository keeps what is inside: unless the destination has the blob, it is compressed anew, and the
 * manifest names the new one in its place. What is inside, the config and its diff_ids stay the same.
 *
 * All layers are checked against their digests on the way. Order: layers and config; the manifest.
 */
export async function copyImage(
  repository: Repository,
  image: ImageWithManifest,
  destination: Destination,
  progress: CopyProgress = {},
): Promise<CopyResult> {
  const { manifest, config } = image;
  const { document } = manifest;
  progress.layers?.(document.layers.map(({ digest, size }) => ({ digest, size, present: false })));
  const copied = await copyLayers(repository, image, destination, progress);
  const layers = document.layers.map(({ digest }) => copied.get(digest)!);

  const { digest, size, mediaType } = document.config;
  await putUnlessThere(destination, blobOfBytes({ digest, size, mediaType }, config.bytes));

  const changed = layers.some((layer) => layer.digest !== layer.source);
  const bytes = changed
    ? replaceLayers(manifest.bytes, `manifest ${manifest.digest}`, (one) => copied.get(one))
    : manifest.bytes;
  const manifestDigest = changed ? sha256Digest(bytes) : manifest.digest;
  const written = parseManifest(bytes, `manifest ${manifestDigest}`);
  await destination.putManifest({
    mediaType: manifestMediaType(written),
    digest: manifestDigest,
    size: bytes.length,
    bytes,
    artifactType: isContainerImage(written) ? undefined : artifactType(written),
    subject: written.subject?.digest,
    annotations: written.annotations,
  });
  return { manifestDigest, configDigest: digest, layers };
}

/** Layers by their digest in the manifest. Several at a time; the first failure ends all. */
async function copyLayers(
  repository: Repository,
  { manifest, config, layers }: ImageWithManifest,
  destination: Destination,
  progress: CopyProgress,
): Promise<Map<string, CopiedLayer>> {
  const copied = new Map<string, CopiedLayer>();
  const seen = new Set<string>();
  const queue = [...manifest.document.layers.entries()].filter(
    ([, { digest }]) => !seen.has(digest) && seen.add(digest),
  );
  const controller = new AbortController();
  const { signal } = controller;
  const worker = async () => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const [index, descriptor] = next;
      signal.throwIfAborted();
      try {
        const source = new LayerSource(
          repository,
          descriptor,
          layers[index]!,
          config.document !== undefined,
        );
        const report = (bytes: number) => progress.received?.(index, bytes);
        copied.set(descriptor.digest, await copyLayer(source, destination, report, signal));
      } catch (error) {
        signal.throwIfAborted();
        const failure = new Error(`layer ${index + 1} (${descriptor.digest})`, { cause: error });
        controller.abort(failure);
        throw failure;
      }
      progress.stored?.(index);
    }
  };
  const count = Math.min(availableParallelism(), queue.length);
  await Promise.allSettled(Array.from({ length: count }, worker));
  signal.throwIfAborted();
  return copied;
}

async function copyLayer(
  source: LayerSource,
  destination: Destination,
  report: (bytes: number) => void,
  signal: AbortSignal,
): Promise<CopiedLayer> {
  const { descriptor } = source;
  const { digest, size } = descriptor;
  if (await destination.obtain(descriptor, signal)) {
    return { source: digest, digest, size, present: true };
  }
  if (source.isBlob) {
    await destination.putBlob(counted(source.blob(), report), signal);
    return { source: digest, digest, size, present: false };
  }
  const linux = source.repository.files.platform.linux;
  const file = new TemporaryFile(linux, destination.scratch, TEMPORARY_PREFIX, TEMPORARY_MODE);
  try {
    const hash = createHash("sha256");
    let length = 0;
    for await (const chunk of source.compressed()) {
      signal.throwIfAborted();
      hash.update(chunk);
      writeAll(linux, file.fd, chunk);
      length += chunk.length;
      report(chunk.length);
    }
    const made = {
      mediaType: descriptor.mediaType,
      digest: `sha256:${hash.digest("hex")}`,
      size: length,
    };
    const present = await putUnlessThere(destination, blobOfFile(linux, made, file), signal);
    return { source: digest, digest: made.digest, size: length, present };
  } finally {
    file.discard();
  }
}

/** Whether it was there. */
async function putUnlessThere(
  destination: Destination,
  blob: OutgoingBlob,
  signal?: AbortSignal,
): Promise<boolean> {
  const present = await destination.obtain(blob, signal);
  if (!present) await destination.putBlob(blob, signal);
  return present;
}

/** A layer of an image in the repository. */
class LayerSource {
  readonly repository: Repository;
  readonly descriptor: Descriptor;
  /** Whether the stream's content is the blob itself; else it is what the blob has inside. */
  readonly isBlob: boolean;
  readonly #stream: Splitstream;
  readonly #compression: Compression;
  /** Of the stream's content, where it is known. */
  readonly #digest: string | undefined;

  /** `layer` is that of the descriptor; in a container image its digest is the diff_id. */
  constructor(
    repository: Repository,
    descriptor: Descriptor,
    layer: StoredLayer,
    isContainer: boolean,
  ) {
    this.repository = repository;
    this.descriptor = descriptor;
    this.#stream = repository.readStreamObject(layer.stream);
    this.#compression = layerCompression(descriptor.mediaType) ?? "none";
    this.isBlob =
      this.#compression === "none" || this.#stream.contentType === CONTENT_TYPES["oci-blob"];
    this.#digest = isContainer ? layer.digest : undefined;
  }

  /** The blob as the manifest names it, checked. */
  blob(): OutgoingBlob {
    const { descriptor } = this;
    return { ...descriptor, read: (offset) => skip(this.#checked(descriptor), offset) };
  }

  /** The content, checked against the diff_id, compressed as the media type says. */
  compressed(): AsyncIterable<Uint8Array> {
    const { size } = this.#stream;
    const digest = this.#digest;
    const content =
      digest === undefined ? this.#content() : this.#checked({ mediaType: "", digest, size });
    return compress(content, this.#compression);
  }

  #checked(descriptor: BlobDescriptor): AsyncIterable<Uint8Array> {
    return verified(this.#content(), descriptor);
  }

  async *#content(): AsyncGenerator<Uint8Array, void, undefined> {
    yield* streamContent(this.repository, this.#stream);
  }
}

async function* skip(source: AsyncIterable<Uint8Array>, offset: number) {
  let left = offset;
  for await (const chunk of source) {
    const dropped = Math.min(left, chunk.length);
    left -= dropped;
    if (dropped < chunk.length) yield chunk.subarray(dropped);
  }
}

/** The same blob, reported as it is read. */
function counted(blob: OutgoingBlob, report: (bytes: number) => void): OutgoingBlob {
  return {
    ...blob,
    async *read(offset) {
      for await (const chunk of blob.read(offset)) {
        report(chunk.length);
        yield chunk;
      }
    },
  };
}
