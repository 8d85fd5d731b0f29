/** Images in a registry (OCI distribution specification 1.1, Docker registry HTTP API v2), for reading. */
import { MAX_MANIFEST, MEDIA_TYPES } from "../../src/formats/oci.ts";
import { Authorization } from "./authorization.ts";
import { trustedCertificates } from "./certificates.ts";
import type { Credentials } from "./credentials.ts";
import {
  display,
  errorCodes,
  HttpClient,
  type HttpResponse,
  isLoopback,
  isTransient,
  readBody,
  statusError,
} from "./http.ts";
import type { RegistryReference } from "./reference.ts";
import {
  type BlobDescriptor,
  type ManifestBytes,
  requireMatch,
  sha256Digest,
  type Transport,
} from "./transport.ts";

const MANIFEST_TYPES = [
  MEDIA_TYPES.manifest,
  MEDIA_TYPES.index,
  MEDIA_TYPES.dockerManifest,
  MEDIA_TYPES.dockerIndex,
].join(", ");

/** How often a download is taken up again in all, and in a row without a byte of progress. */
const RESUMES = 50;
const FRUITLESS_RESUMES = 4;

export interface RegistryOptions {
  /** False: certificates are not checked, and HTTP will do where HTTPS is not spoken. */
  readonly tlsVerify: boolean;
  readonly credentials?: Credentials | undefined;
  /** Milliseconds before the first retry. */
  readonly retryDelay?: number | undefined;
}

/** Finds out how the registry wants to be spoken to. Throws if it cannot be reached or is no registry. */
export async function openRegistry(
  reference: RegistryReference,
  options: RegistryOptions,
): Promise<Transport> {
  const http = new HttpClient({
    tlsVerify: options.tlsVerify,
    trusted: trustedCertificates(reference.registry),
    retryDelay: options.retryDelay,
  });
  try {
    const { base, response } = await ping(http, reference.registry, options.tlsVerify);
    const authorization = new Authorization(http, base, reference.repository, options.credentials);
    if (response.status === 401) authorization.challenged(response.header("www-authenticate"));
    await response.discard();
    return new Registry(http, base, reference, authorization);
  } catch (error) {
    await http.close();
    throw error;
  }
}

/**
 * Asks for `/v2/` over HTTPS; over HTTP where that is allowed (loopback, certificates not checked) and whoever
 * listens does not speak TLS.
 */
async function ping(http: HttpClient, registry: string, tlsVerify: boolean) {
  const host = registry === "docker.io" ? "registry-1.docker.io" : registry;
  const secure = new URL(`https://${host}/v2/`);
  const plain = new URL(`http://${host}/v2/`);
  let base = secure;
  let response: HttpResponse;
  try {
    response = await http.send(secure);
  } catch (error) {
    if ((tlsVerify && !isLoopback(secure.hostname)) || !speaksNoTls(error)) throw error;
    base = plain;
    try {
      response = await http.send(plain);
    } catch {
      throw error; // HTTP was a second guess: the first answer is the one to report
    }
  }
  if (response.status === 200 || response.status === 401) return { base, response };
  throw new Error(`${registry} is no registry that can be used`, {
    cause: await statusError(base, response),
  });
}

/** Whether a connection failed such that the other side may speak HTTP: not for a certificate that is no good. */
function speaksNoTls(error: unknown): boolean {
  return errorCodes(error).some((code) =>
    [
      "ECONNREFUSED",
      "ECONNRESET",
      "EPROTO",
      "UND_ERR_SOCKET",
      "ERR_SSL_WRONG_VERSION_NUMBER",
      "ERR_SSL_PACKET_LENGTH_TOO_LONG",
      "ERR_SSL_HTTP_REQUEST",
    ].includes(code),
  );
}

class Registry implements Transport {
  readonly #http: HttpClient;
  readonly #base: URL;
  readonly #reference: RegistryReference;
  readonly #authorization: Authorization;

  constructor(
    http: HttpClient,
    base: URL,
    reference: RegistryReference,
    authorization: Authorization,
  ) {
    this.#http = http;
    this.#base = base;
    this.#reference = reference;
    this.#authorization = authorization;
  }

  close(): Promise<void> {
    return this.#http.close();
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
    const url = this.#url("manifests", reference);
    const response = await this.#get(url, { accept: MANIFEST_TYPES });
    if (response.status !== 200) throw await statusError(url, response);
    let bytes: Uint8Array;
    try {
      bytes = await readBody(response, MAX_MANIFEST);
    } catch (error) {
      throw new Error(display(url), { cause: error });
    }
    const digest = sha256Digest(bytes);
    const stated = response.header("docker-content-digest");
    if (stated?.startsWith("sha256:") && stated !== digest)
      throw new Error(`${display(url)}: has the digest ${digest}; the registry states ${stated}`);
    const mediaType = response.header("content-type")?.split(";")[0]?.trim();
    return { bytes, mediaType, digest };
  }

  /** A download that breaks off is taken up again where it stopped. */
  async *blob(
    descriptor: BlobDescriptor,
    signal?: AbortSignal,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const url = this.#url("blobs", descriptor.digest);
    let at = 0;
    let fruitless = 0;
    for (let resumes = 0; ; resumes++) {
      const before = at;
      try {
        for await (const chunk of this.#from(url, at, signal)) {
          at += chunk.length;
          yield chunk;
        }
        return;
      } catch (error) {
        signal?.throwIfAborted();
        fruitless = at > before ? 0 : fruitless + 1;
        if (!isTransient(error, true) || resumes === RESUMES || fruitless > FRUITLESS_RESUMES)
          throw error;
        await this.#http.pause(Math.max(1, fruitless), signal);
      }
    }
  }

  /** The bytes of a blob from an offset on; a server that sends all of them again is listened to from there. */
  async *#from(url: URL, offset: number, signal: AbortSignal | undefined) {
    const headers: Record<string, string> = offset === 0 ? {} : { range: `bytes=${offset}-` };
    const response = await this.#get(url, headers, signal);
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
    try {
      for await (const chunk of response.body) {
        const dropped = Math.min(skip, chunk.length);
        skip -= dropped;
        if (dropped < chunk.length) yield chunk.subarray(dropped);
      }
    } catch (error) {
      throw new Error(display(url), { cause: error });
    }
  }

  /** Requests with authorization; when it is refused, once more with what the refusal asks for. */
  async #get(
    url: URL,
    headers: Record<string, string>,
    signal?: AbortSignal | undefined,
  ): Promise<HttpResponse> {
    for (let attempt = 1; ; attempt++) {
      const authorization = await this.#authorization.header(signal);
      const response = await this.#http.send(url, {
        headers,
        authorization,
        signal,
        patient: true,
      });
      if (response.status !== 401 || attempt === 2) return response;
      this.#authorization.challenged(response.header("www-authenticate"));
      await response.discard();
    }
  }

  #url(kind: "manifests" | "blobs", reference: string): URL {
    return new URL(`${this.#reference.repository}/${kind}/${reference}`, this.#base);
  }
}
