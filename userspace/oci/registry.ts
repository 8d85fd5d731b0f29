/** Images in a registry (OCI distribution specification 1.1, Docker registry HTTP API v2), for reading. */

import type { ByteRange } from "../../src/formats/byte-source.ts";
import { MAX_MANIFEST, MEDIA_TYPES } from "../../src/formats/oci.ts";
import { isSilence, isTransient } from "./connection-error.ts";
import { display, type HttpResponse, readBody, refusal, statusError } from "./http.ts";
import type { RegistryLocation } from "./location.ts";
import {
  openSession,
  type RegistryOptions,
  type RegistrySession,
  type Scope,
} from "./registry-session.ts";
import {
  type BlobDescriptor,
  type ManifestBytes,
  NoRangesError,
  requireMatch,
  sha256Digest,
  type Transport,
} from "./transport.ts";

export type { RegistryOptions };

const MANIFEST_TYPES = [
  MEDIA_TYPES.manifest,
  MEDIA_TYPES.index,
  MEDIA_TYPES.dockerManifest,
  MEDIA_TYPES.dockerIndex,
].join(", ");

/** How often a download is taken up again in all, and in a row without a byte of progress. */
const RESUMES = 50;
const FRUITLESS_RESUMES = 4;

/** Opens a registry for reading. Throws if it cannot be reached or is no registry. */
export async function openRegistry(
  reference: RegistryLocation,
  options: RegistryOptions,
): Promise<Transport> {
  const scope: Scope = `repository:${reference.repository}:pull`;
  return new Registry(await openSession(reference, options, [scope]), reference);
}

class Registry implements Transport {
  readonly #session: RegistrySession;
  readonly #reference: RegistryLocation;

  constructor(session: RegistrySession, reference: RegistryLocation) {
    this.#session = session;
    this.#reference = reference;
  }

  close(): Promise<void> {
    return this.#session.close();
  }

  async root(): Promise<ManifestBytes> {
    const { tag, digest } = this.#reference;
    const manifest = await this.#manifest(digest ?? tag!);
    if (digest !== undefined && manifest.digest !== digest)
      throw new Error(`manifest: has the digest ${manifest.digest}; expected ${digest}`);
    return manifest;
  }

  async manifest(descriptor: BlobDescriptor): Promise<ManifestBytes> {
    const manifest = await this.#manifest(descriptor.digest);
    try {
      requireMatch(manifest.bytes, descriptor);
    } catch (error) {
      throw new Error(`manifest ${descriptor.digest}`, { cause: error });
    }
    return manifest;
  }

  async #manifest(reference: string): Promise<ManifestBytes> {
    const url = this.#session.url(`manifests/${reference}`);
    for (let attempt = 1; ; attempt++) {
      const response = await this.#session.send(url, { headers: { accept: MANIFEST_TYPES } });
      if (response.status !== 200) throw await refusal(url, response);
      let bytes: Uint8Array;
      try {
        bytes = await readBody(response, MAX_MANIFEST);
      } catch (error) {
        if (attempt > FRUITLESS_RESUMES || !isTransient(error, true))
          throw new Error(display(url), { cause: error });
        await this.#session.pause(attempt, undefined);
        continue;
      }
      const digest = sha256Digest(bytes);
      const stated = response.header("docker-content-digest");
      if (stated?.startsWith("sha256:") && stated !== digest)
        throw new Error(`${display(url)}: has the digest ${digest}; the registry states ${stated}`);
      const mediaType = response.header("content-type")?.split(";")[0]?.trim();
      return { bytes, mediaType, digest };
    }
  }

  blob(
    descriptor: BlobDescriptor,
    signal?: AbortSignal,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    return this.#download(descriptor, 0, undefined, signal);
  }

  blobRange(
    descriptor: BlobDescriptor,
    { start, end }: ByteRange,
    signal?: AbortSignal,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    return this.#download(descriptor, start, end, signal);
  }

  /**
   * The bytes of a blob from an offset on; if there is an `end`, up to it. A download that breaks off is taken up again
   * where it stopped.
   */
  async *#download(
    descriptor: BlobDescriptor,
    start: number,
    end: number | undefined,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const url = this.#session.url(`blobs/${descriptor.digest}`);
    let at = start;
    let fruitless = 0;
    for (let resumes = 0; ; resumes++) {
      const before = at;
      try {
        const pieces =
          end === undefined
            ? this.#from(url, at, signal)
            : this.#range(url, { start: at, end }, descriptor.size, signal);
        for await (const chunk of pieces) {
          at += chunk.length;
          yield chunk;
        }
        return;
      } catch (error) {
        signal?.throwIfAborted();
        if (at === end) return; // all is there, however it ended
        fruitless = at > before ? 0 : fruitless + 1;
        // who has kept silent for several requests is not asked for as many again
        const hopeless = !isTransient(error, true) || isSilence(error);
        if (hopeless || resumes === RESUMES || fruitless > FRUITLESS_RESUMES) throw error;
        await this.#session.pause(Math.max(1, fruitless), signal);
      }
    }
  }

  /** The bytes of a blob from an offset on; a server that sends all of them again is listened to from there. */
  async *#from(url: URL, offset: number, signal: AbortSignal | undefined) {
    const headers: Record<string, string> = offset === 0 ? {} : { range: `bytes=${offset}-` };
    const response = await this.#session.send(url, { headers, signal });
    let skip = offset;
    if (offset > 0 && response.status === 206) {
      const range = response.header("content-range");
      if (!range?.startsWith(`bytes ${offset}-`)) {
        await response.discard();
        throw new Error(
          `${display(url)}: asked for bytes from ${offset}, got ${range ?? "others"}`,
        );
      }
      skip = 0;
    } else if (response.status !== 200) {
      throw await statusError(url, response);
    }
    for await (const chunk of bodyOf(url, response)) {
      const dropped = Math.min(skip, chunk.length);
      skip -= dropped;
      if (dropped < chunk.length) yield chunk.subarray(dropped);
    }
  }

  /** Some bytes of a blob of so many. Exactly these, or an error: after it, the bytes until there are good. */
  async *#range(
    url: URL,
    { start, end }: ByteRange,
    size: number,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const headers = { range: `bytes=${start}-${end - 1}` };
    const response = await this.#session.send(url, { headers, signal });
    if (response.status === 200) {
      await response.discard();
      throw new NoRangesError(`${display(url)}: the registry sends only the whole blob`);
    }
    if (response.status !== 206) throw await statusError(url, response);
    const range = response.header("content-range") ?? "no range";
    if (range !== `bytes ${start}-${end - 1}/${size}` && range !== `bytes ${start}-${end - 1}/*`) {
      await response.discard();
      throw new Error(
        `${display(url)}: asked for bytes ${start}-${end - 1}/${size}, got ${range.slice(0, 80)}`,
      );
    }
    let left = end - start;
    for await (const chunk of bodyOf(url, response)) {
      left -= chunk.length;
      if (left < 0) throw new Error(`${display(url)}: longer than bytes ${start}-${end - 1}`);
      yield chunk;
    }
    if (left > 0)
      throw new Error(`${display(url)}: ${left} bytes less than bytes ${start}-${end - 1}`);
  }
}

/** The body; errors of the connection say what was fetched. */
async function* bodyOf(url: URL, { body }: HttpResponse): AsyncGenerator<Uint8Array> {
  try {
    yield* body;
  } catch (error) {
    throw new Error(display(url), { cause: error });
  }
}
