/** Images in an image layout (OCI image specification, image-layout): a directory, or one in a tar archive. */
import { createReadStream } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import {
  MAX_MANIFEST,
  MEDIA_TYPES,
  parseIndex,
  TAG_ANNOTATION,
  tagsOf,
} from "../../src/formats/oci.ts";
import { openArchive } from "./archive.ts";
import type { LayoutArchiveReference, LayoutReference } from "./reference.ts";
import {
  type BlobDescriptor,
  type ManifestBytes,
  requireMatch,
  sha256Digest,
  type Transport,
} from "./transport.ts";

const READ_SIZE = 256 * 1024;

/** The files of a layout, wherever they are. Paths are relative, with slashes. */
interface LayoutFiles {
  /** The name of a file for messages. */
  name(path: string): string;
  /** A whole file. Throws if there is none, or if it is longer than `limit` bytes. */
  read(path: string, limit: number): Promise<Uint8Array>;
  stream(path: string, signal?: AbortSignal): AsyncIterable<Uint8Array>;
  close(): void;
}

/** Opens a layout directory. Throws if it is none. */
export async function openLayout({ directory, tag }: LayoutReference): Promise<Transport> {
  return openFiles(directory, filesOfDirectory(directory), tag);
}

/** Opens a layout in an archive, which is read where it lies. Throws if it is none. */
export async function openLayoutArchive({ file, tag }: LayoutArchiveReference): Promise<Transport> {
  const archive = await openArchive(file);
  const files: LayoutFiles = {
    name: (path) => `${file}: ${path}`,
    read: async (path, limit) => archive.read(path, limit),
    async *stream(path, signal) {
      yield* archive.stream(archive.require(path), signal);
    },
    close: () => archive.close(),
  };
  try {
    return await openFiles(file, files, tag);
  } catch (error) {
    archive.close();
    throw error;
  }
}

async function openFiles(
  name: string,
  files: LayoutFiles,
  tag: string | undefined,
): Promise<Transport> {
  const path = "oci-layout";
  let version: unknown;
  try {
    const text = Buffer.from(await files.read(path, MAX_MANIFEST)).toString();
    version = (JSON.parse(text) as { imageLayoutVersion?: unknown } | null)?.imageLayoutVersion;
  } catch (error) {
    throw new Error(`${name} is no image layout`, {
      cause: error instanceof SyntaxError ? new Error(`${files.name(path)}: expected JSON`) : error,
    });
  }
  if (typeof version !== "string" || !version.startsWith("1."))
    throw new Error(`${files.name(path)}: expected imageLayoutVersion 1.0.0`);
  return new Layout(files, tag);
}

class Layout implements Transport {
  readonly #files: LayoutFiles;
  readonly #tag: string | undefined;

  constructor(files: LayoutFiles, tag: string | undefined) {
    this.#files = files;
    this.#tag = tag;
  }

  async close(): Promise<void> {
    this.#files.close();
  }

  /** By tag, or the only image there is; else the whole index, to choose from by platform. */
  async root(): Promise<ManifestBytes> {
    const tag = this.#tag;
    const bytes = await this.#files.read("index.json", MAX_MANIFEST);
    const path = this.#files.name("index.json");
    const { manifests } = parseIndex(bytes, path);
    if (tag === undefined) {
      if (manifests.length === 1) return this.manifest(manifests[0]!);
      return { bytes, mediaType: MEDIA_TYPES.index, digest: sha256Digest(bytes) };
    }
    const tagged = manifests.filter(({ annotations }) => annotations[TAG_ANNOTATION] === tag);
    if (tagged.length === 1) return this.manifest(tagged[0]!);
    const tags = tagsOf(manifests);
    throw new Error(
      tagged.length > 1
        ? `${path}: has the tag ${JSON.stringify(tag)} ${tagged.length} times`
        : `${path}: no tag ${JSON.stringify(tag)}; there ${tags === "" ? "are none" : `is ${tags}`}`,
    );
  }

  async manifest(descriptor: BlobDescriptor): Promise<ManifestBytes> {
    const path = blobPath(descriptor);
    const bytes = await this.#files.read(path, MAX_MANIFEST);
    try {
      requireMatch(bytes, descriptor);
    } catch (error) {
      throw new Error(this.#files.name(path), { cause: error });
    }
    return { bytes, mediaType: descriptor.mediaType, digest: descriptor.digest };
  }

  blob(descriptor: BlobDescriptor, signal?: AbortSignal): AsyncIterable<Uint8Array> {
    return this.#files.stream(blobPath(descriptor), signal);
  }
}

/** The digest was checked when it was parsed, so it holds no path. */
function blobPath({ digest }: BlobDescriptor): string {
  return `blobs/${digest.replace(":", "/")}`;
}

function filesOfDirectory(directory: string): LayoutFiles {
  return {
    name: (path) => join(directory, path),
    read: (path, limit) => readFile(join(directory, path), limit),
    stream: (path, signal) => readStream(join(directory, path), signal),
    close: () => {},
  };
}

/** The bytes of a file, in pieces. */
export async function* readStream(
  path: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  const options = { highWaterMark: READ_SIZE, ...(signal === undefined ? {} : { signal }) };
  yield* createReadStream(path, options) as AsyncIterable<Uint8Array>;
}

/** A whole file. Throws if it is longer than `limit` bytes. */
export async function readFile(path: string, limit: number): Promise<Uint8Array> {
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
