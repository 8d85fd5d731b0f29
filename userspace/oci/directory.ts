/**
 * One image as files of a directory, as `skopeo copy … dir:DIRECTORY` writes it: `manifest.json`, and blobs named by the
 * hex digits of their digests. The manifests of an image for several platforms are `HEX.manifest.json`.
 */
import { join } from "node:path";
import { MAX_MANIFEST } from "../../src/formats/oci.ts";
import { readFile, readStream } from "./layout.ts";
import type { DirectoryReference } from "./reference.ts";
import {
  type BlobDescriptor,
  type ManifestBytes,
  requireMatch,
  sha256Digest,
  type Transport,
} from "./transport.ts";

/** Says which version of the layout it is; old writers left it out. */
const VERSION_FILE = "version";
const VERSION = /^Directory Transport Version: 1\.\d+\s*$/;

/** Opens a directory. Throws if it is of another version. */
export async function openDirectory({ directory }: DirectoryReference): Promise<Transport> {
  const path = join(directory, VERSION_FILE);
  let text: string | undefined;
  try {
    text = Buffer.from(await readFile(path, 256)).toString();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  if (text !== undefined && !VERSION.test(text))
    throw new Error(`${path}: expected "Directory Transport Version: 1.1"`);
  return new Directory(directory);
}

class Directory implements Transport {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  async root(): Promise<ManifestBytes> {
    const bytes = await readFile(join(this.#directory, "manifest.json"), MAX_MANIFEST);
    return { bytes, mediaType: undefined, digest: sha256Digest(bytes) };
  }

  async manifest(descriptor: BlobDescriptor): Promise<ManifestBytes> {
    const path = join(this.#directory, `${hexOf(descriptor)}.manifest.json`);
    const bytes = await readFile(path, MAX_MANIFEST);
    try {
      requireMatch(bytes, descriptor);
    } catch (error) {
      throw new Error(path, { cause: error });
    }
    return { bytes, mediaType: descriptor.mediaType, digest: descriptor.digest };
  }

  blob(descriptor: BlobDescriptor, signal?: AbortSignal): AsyncIterable<Uint8Array> {
    return readStream(join(this.#directory, hexOf(descriptor)), signal);
  }

  async close(): Promise<void> {}
}

/** The digest was checked when it was parsed, so it holds no path. */
function hexOf({ digest }: BlobDescriptor): string {
  return digest.slice(digest.indexOf(":") + 1);
}
