/** One repository in a registry, spoken to over HTTP with authorization. */
import { Authorization } from "./authorization.ts";
import { registryCertificates } from "./certificates.ts";
import { errorCodes, isSilence } from "./connection-error.ts";
import type { Credentials } from "./credentials.ts";
import {
  HttpClient,
  type HttpResponse,
  isLoopback,
  type SendOptions,
  statusError,
} from "./http.ts";
import type { RegistryLocation } from "./location.ts";

export interface RegistryOptions {
  /** False: certificates are not checked, and HTTP will do where HTTPS is not spoken. */
  readonly tlsVerify: boolean;
  readonly credentials?: Credentials | undefined;
  /** Milliseconds before the first retry. */
  readonly retryDelay?: number | undefined;
  /** Says where certificates are; the process's own. */
  readonly env?: NodeJS.ProcessEnv | undefined;
  /** How often a request is tried. */
  readonly attempts?: number | undefined;
  /** Milliseconds without a byte after which a server is given up; a minute. */
  readonly idleTimeout?: number | undefined;
}

/** What is wanted of a repository; what of others, when their blobs are to be used in it. */
export type Scope = `repository:${string}:${"pull" | "pull,push"}`;

/**
 * Finds out how the registry wants to be spoken to. Throws if it cannot be reached or is no registry.
 * `scopes` are what tokens shall allow.
 */
export async function openSession(
  reference: RegistryLocation,
  options: RegistryOptions,
  scopes: readonly Scope[],
): Promise<RegistrySession> {
  const http = new HttpClient({
    tlsVerify: options.tlsVerify,
    trusted: registryCertificates(reference.registry, options.env),
    retryDelay: options.retryDelay,
    idleTimeout: options.idleTimeout,
    attempts: options.attempts,
  });
  try {
    const { base, response } = await ping(http, reference.registry, options.tlsVerify);
    const authorization = new Authorization(http, base, scopes, options.credentials);
    if (response.status === 401) authorization.challenged(response.header("www-authenticate"));
    await response.discard();
    return new RegistrySession(http, base, reference.repository, authorization);
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
    } catch (second) {
      // HTTP was a second guess: the first answer is the one to report, unless nobody ever spoke TLS there
      throw isSilence(second) ? second : error;
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

export class RegistrySession {
  readonly #http: HttpClient;
  readonly #base: URL;
  readonly #repository: string;
  readonly #authorization: Authorization;

  constructor(http: HttpClient, base: URL, repository: string, authorization: Authorization) {
    this.#http = http;
    this.#base = base;
    this.#repository = repository;
    this.#authorization = authorization;
  }

  close(): Promise<void> {
    return this.#http.close();
  }

  /** Waits as after the `attempt`-th failure. */
  pause(attempt: number, signal: AbortSignal | undefined): Promise<void> {
    return this.#http.pause(attempt, signal);
  }

  /** A URL of the repository: `manifests/TAG`, `blobs/DIGEST`. */
  url(path: string): URL {
    return new URL(`${this.#repository}/${path}`, this.#base);
  }

  /** Requests with authorization; when it is refused, once more with what the refusal asks for. */
  async send(url: URL, options: Omit<SendOptions, "authorization">): Promise<HttpResponse> {
    // A URL that the registry gave may be elsewhere, and brings what it needs to be let in there.
    const own = url.origin === this.#base.origin;
    for (let attempt = 1; ; attempt++) {
      const authorization = own ? await this.#authorization.header(options.signal) : undefined;
      const response = await this.#http.send(url, { ...options, authorization, patient: true });
      if (response.status !== 401 || attempt === 2 || !own) return response;
      this.#authorization.challenged(response.header("www-authenticate"));
      await response.discard();
    }
  }
}
