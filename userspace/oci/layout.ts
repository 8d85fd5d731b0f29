/** Images in an image layout directory (OCI image specification, image-layout). */
import { createReadStream } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { MAX_MANIFEST, MEDIA_TYPES, parseIndex } from "../../src/formats/oci.ts";
import type { LayoutReference } from "./reference.ts";
import {
  type BlobDescriptor,
  type ManifestBytes,
  requireMatch,
  sha256Digest,
  type Transport,
} from "./transport.ts";

const TAG_ANNOTATION = "org.opencontainers.image.ref.name";
const READ_SIZE = 256 * 1024;

/** Opens a layout. Throws if the directory is none. */
export async function openLayout(reference: LayoutReference): Promise<Transport> {
  const path = join(reference.directory, "oci-layout");
  let version: unknown;
  try {
    const text = Buffer.from(await readFile(path, MAX_MANIFEST)).toString();
    version = (JSON.parse(text) as { imageLayoutVersion?: unknown } | null)?.imageLayoutVersion;
  } catch (error) {
    throw new Error(`${reference.directory} is no image layout`, {
      cause: error instanceof SyntaxError ? new Error(`${path}: expected JSON`) : error,
    });
  }
  if (typeof version !== "string" || !version.startsWith("1."))
    throw new Error(`${path}: expected imageLayoutVersion 1.0.0`);
  return new Layout(reference);
}

class Layout implements Transport {
  readonly #reference: LayoutReference;

  constructor(reference: LayoutReference) {
    this.#reference = reference;
  }

  async close(): Promise<void> {}

  /** By tag, or the only image there is; else the whole index, to choose from by platform. */
  async root(): Promise<ManifestBytes> {
    const { directory, tag } = this.#reference;
    const path = join(directory, "index.json");
    const bytes = await readFile(path, MAX_MANIFEST);
    const { manifests } = parseIndex(bytes, path);
    if (tag === undefined) {
      if (manifests.length === 1) return this.manifest(manifests[0]!);
      return { bytes, mediaType: MEDIA_TYPES.index, digest: sha256Digest(bytes) };
    }
    const tagged = manifests.filter(({ annotations }) => annotations[TAG_ANNOTATION] === tag);
    if (tagged.length === 1) return this.manifest(tagged[0]!);
    const tags = manifests.flatMap(({ annotations }) => annotations[TAG_ANNOTATION] ?? []);
    throw new Error(
      tagged.length > 1
        ? `${path}: has the tag ${JSON.stringify(tag)} ${tagged.length} times`
        : `${path}: no tag ${JSON.stringify(tag)}; there ${tags.length === 0 ? "are none" : `is ${tags.slice(0, 10).join(", ")}`}`,
    );
  }

  async manifest(descriptor: BlobDescriptor): Promise<ManifestBytes> {
    const bytes = await readFile(this.#blobPath(descriptor), MAX_MANIFEST);
    try {
      requireMatch(bytes, descriptor);
    } catch (error) {
      throw new Error(this.#blobPath(descriptor), { cause: error });
    }
    return { bytes, mediaType: descriptor.mediaType, digest: descriptor.digest };
  }

  async *blob(descriptor: BlobDescriptor, signal?: AbortSignal) {
    const options = { highWaterMark: READ_SIZE, ...(signal === undefined ? {} : { signal }) };
    yield* createReadStream(this.#blobPath(descriptor), options) as AsyncIterable<Uint8Array>;
  }

  /** The digest was checked when it was parsed, so it holds no path. */
  #blobPath({ digest }: BlobDescriptor): string {
    const [algorithm, hex] = digest.split(":");
    return join(this.#reference.directory, "blobs", algorithm!, hex!);
  }
}

async function readFile(path: string, limit: number): Promise<Uint8Array> {
  const file = await open(path, "r");
  try {
    const buffer = new Uint8Array(Math.min(limit, (await file.stat()).size) + 1);
    let size = 0;
    for (let n = -1; n !== 0 && size < buffer.length; size += n)
      n = (await file.read(buffer, size, buffer.length - size)).bytesRead;
    if (size > limit) throw new Error(`${path}: longer than ${limit} bytes`);
    return buffer.subarray(0, size);
  } finally {
    await file.close();
  }
}
