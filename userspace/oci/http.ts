/**
 * HTTP as registries need it: redirects that do not carry credentials to another host, retries with back-off, time-outs,
 * proxies from the environment.
 */
import { Readable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import type { SecureContext } from "node:tls";
import { Agent, type Dispatcher, EnvHttpProxyAgent, request } from "undici";
import product from "../../package.json" with { type: "json" };
import { isSilence, isTransient, plainError } from "./connection-error.ts";

export const USER_AGENT = `cfsboot/${product.version}`;

const CONNECT_TIMEOUT = 15_000;
const IDLE_TIMEOUT = 60_000;
const ATTEMPTS = 5;
/** Fewer of those that take so long. */
const SILENT_ATTEMPTS = 3;
const REDIRECTS = 5;
/** Longest wait that a server may ask for with Retry-After, in milliseconds. */
const LONGEST_DELAY = 60_000;
/** How much of an error response is read for its message. */
const ERROR_BODY_LIMIT = 64 * 1024;

export interface HttpOptions {
  /** Whether certificates are checked. Also, whether a redirect may leave HTTPS: only where they are not. */
  readonly tlsVerify: boolean;
  /** The authorities that certificates are checked against, and the certificates that are shown. */
  readonly trusted: SecureContext;
  /** Milliseconds before the first retry; doubled for each further one. */
  readonly retryDelay?: number | undefined;
  /** How often a request is tried that fails as it may not the next time. */
  readonly attempts?: number | undefined;
  /** Milliseconds for the response to begin, and between two pieces of it. */
  readonly idleTimeout?: number | undefined;
}

export interface SendOptions {
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent to the URL's own origin, never to another one that it redirects to. */
  readonly authorization?: string | undefined;
  /** GET if not given; POST if there is a form. */
  readonly method?: "HEAD" | "POST" | "PUT" | "PATCH";
  /** A form to be sent with POST. */
  readonly form?: URLSearchParams;
  /** What is sent: bytes, or what gives them anew each time. Not together with `form`. */
  readonly body?: Uint8Array | (() => AsyncIterable<Uint8Array>);
  /** How often it is tried in all, if not as often as is usual. 1: for what must not be sent twice. */
  readonly attempts?: number;
  /** Milliseconds until the response must begin, if not the usual. */
  readonly timeout?: number;
  readonly signal?: AbortSignal | undefined;
  /** Also retry when nobody listens or the name is unknown: for hosts that have answered before. */
  readonly patient?: boolean;
}

export interface HttpResponse {
  readonly status: number;
  /** A header's value; lines that are repeated are joined with a comma. */
  header(name: string): string | undefined;
  /** To be read, or discarded with `discard`. Errors of the connection surface here. */
  readonly body: AsyncIterable<Uint8Array>;
  discard(): Promise<void>;
}

/** A response that is not what was asked for. `status` is its HTTP status. */
export class HttpStatusError extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export class HttpClient {
  readonly #options: HttpOptions;
  readonly #direct: Agent;
  readonly #proxied: EnvHttpProxyAgent;

  constructor(options: HttpOptions) {
    this.#options = options;
    const tls = { rejectUnauthorized: options.tlsVerify, secureContext: options.trusted };
    const common = {
      connect: { ...tls, timeout: CONNECT_TIMEOUT },
      headersTimeout: options.idleTimeout ?? IDLE_TIMEOUT,
      bodyTimeout: options.idleTimeout ?? IDLE_TIMEOUT,
    };
    this.#direct = new Agent(common);
    this.#proxied = new EnvHttpProxyAgent({ ...common, requestTls: tls });
  }

  /** Ends all connections, also those in use. */
  async close(): Promise<void> {
    await Promise.all([this.#direct.destroy(), this.#proxied.destroy()]);
  }

  /**
   * Requests `url`, following redirects. Connection errors, 429 and 5xx are retried; the last such response is
   * returned like any other.
   */
  async send(url: URL, options: SendOptions = {}): Promise<HttpResponse> {
    const attempts = options.attempts ?? this.#options.attempts ?? ATTEMPTS;
    for (let attempt = 1; ; attempt++) {
      let wait = this.#backoff(attempt);
      try {
        const response = await this.#follow(url, options);
        const transient = response.status === 429 || response.status >= 500;
        if (!transient || attempt === attempts) return response;
        wait = retryAfter(response.header("retry-after")) ?? wait;
        await response.discard();
      } catch (error) {
        options.signal?.throwIfAborted();
        const enough = isSilence(error) ? Math.min(attempts, SILENT_ATTEMPTS) : attempts;
        if (attempt >= enough || !isTransient(error, options.patient === true)) throw error;
      }
      await delay(wait, undefined, { signal: options.signal });
    }
  }

  /** Waits as after the `attempt`-th failure. */
  async pause(attempt: number, signal: AbortSignal | undefined): Promise<void> {
    await delay(this.#backoff(attempt), undefined, { signal });
  }

  /** Milliseconds to wait after the `attempt`-th failure: twice as long each time, spread by a quarter. */
  #backoff(attempt: number): number {
    const base = (this.#options.retryDelay ?? 500) * 2 ** (attempt - 1);
    return Math.min(LONGEST_DELAY, base * (0.75 + Math.random() / 2));
  }

  async #follow(start: URL, options: SendOptions): Promise<HttpResponse> {
    let url = start;
    for (let hops = 0; ; hops++) {
      const response = await this.#once(url, url.origin === start.origin, options);
      const location = response.header("location");
      if (![301, 302, 303, 307, 308].includes(response.status) || location === undefined)
        return response;
      await response.discard();
      if (options.form !== undefined || options.body !== undefined)
        throw new Error(`${display(url)}: redirects what was sent`);
      if (hops === REDIRECTS)
        throw new Error(`${display(start)}: more than ${REDIRECTS} redirects`);
      if (!URL.canParse(location, url.href))
        throw new Error(`${display(url)}: redirects to no URL`);
      const next = new URL(location, url);
      if (next.protocol !== "https:" && next.protocol !== "http:")
        throw new Error(`${display(url)}: redirects to ${next.protocol}`);
      if (url.protocol === "https:" && next.protocol === "http:" && this.#options.tlsVerify)
        throw new Error(`${display(url)}: redirects from HTTPS to HTTP (${display(next)})`);
      url = next;
    }
  }

  async #once(url: URL, sameOrigin: boolean, options: SendOptions): Promise<HttpResponse> {
    const headers: Record<string, string> = { "user-agent": USER_AGENT, ...options.headers };
    if (sameOrigin && options.authorization !== undefined)
      headers.authorization = options.authorization;
    if (options.form !== undefined) headers["content-type"] = "application/x-www-form-urlencoded";
    let data: Dispatcher.ResponseData;
    try {
      data = await request(url, {
        method: options.method ?? (options.form === undefined ? "GET" : "POST"),
        body: requestBody(options),
        headers,
        dispatcher: isLoopback(url.hostname) ? this.#direct : this.#proxied,
        signal: options.signal ?? null,
        ...(options.timeout === undefined ? {} : { headersTimeout: options.timeout }),
      });
    } catch (error) {
      throw new Error(display(url), { cause: plainError(error) });
    }
    return {
      status: data.statusCode,
      header: (name) => {
        const value = data.headers[name];
        return Array.isArray(value) ? value.join(", ") : value;
      },
      body: data.body,
      discard: () => data.body.dump({ limit: ERROR_BODY_LIMIT }).catch(() => {}),
    };
  }
}

function requestBody({ form, body }: SendOptions): string | Uint8Array | Readable | null {
  if (typeof body === "function") return Readable.from(body(), { objectMode: false });
  return body ?? form?.toString() ?? null;
}

/** Whether a host name (as in a URL) is this machine's own loopback, which no proxy is asked for. */
export function isLoopback(hostname: string): boolean {
  return (
    hostname === "localhost" ||
    hostname.endsWith(".localhost") ||
    hostname === "[::1]" ||
    /^127\.\d+\.\d+\.\d+$/.test(hostname)
  );
}

/** A URL for messages: without query and user, which may hold secrets. */
export function display(url: URL): string {
  return url.origin + url.pathname;
}

/** Reads a body whole. Throws if it is longer than `limit` bytes. */
export async function readBody(response: HttpResponse, limit: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body) {
    size += chunk.length;
    if (size > limit) throw new Error(`longer than ${limit} bytes`);
    chunks.push(chunk);
  }
  return new Uint8Array(Buffer.concat(chunks, size));
}

/** The error that a response stands for: its status and, from a registry, the message inside. */
export async function statusError(url: URL, response: HttpResponse): Promise<HttpStatusError> {
  const why = await errorMessage(response);
  const text = `${display(url)}: HTTP status ${response.status}${why === "" ? "" : ` (${why})`}`;
  return new HttpStatusError(response.status, text);
}

/** As `statusError`, for the first request that needs the rights that the credentials should give. */
export async function refusal(url: URL, response: HttpResponse): Promise<HttpStatusError> {
  const error = await statusError(url, response);
  const hint = "is the password right? podman login HOST asks for it anew";
  return response.status === 401 ? Object.assign(error, { hint }) : error;
}

async function errorMessage(response: HttpResponse): Promise<string> {
  try {
    const body = await readBody(response, ERROR_BODY_LIMIT);
    const { errors } = JSON.parse(Buffer.from(body).toString()) as { errors?: unknown };
    const [first] = Array.isArray(errors) ? errors : [];
    const { code, message } = first as { code?: unknown; message?: unknown };
    const text = [code, message]
      .filter((part) => typeof part === "string" && part !== "")
      .join(": ");
    return text.replace(/[\x00-\x1f\x7f-\x9f]/g, " ").slice(0, 300);
  } catch {
    return ""; // the status says enough
  }
}

function retryAfter(value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  const wait = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isNaN(wait) ? undefined : Math.min(LONGEST_DELAY, Math.max(0, wait));
}
