/** Writing images into a registry (OCI distribution specification 1.1, Docker registry HTTP API v2). */

import { AT_FDCWD, O_CLOEXEC, O_DIRECTORY, O_RDONLY } from "../../src/linux/constants.ts";
import type { Fd, Linux } from "../../src/linux/linux.ts";
import { isTransient } from "./connection-error.ts";
import type { Destination, OutgoingBlob, OutgoingManifest } from "./destination.ts";
import { display, type HttpResponse, HttpStatusError, refusal, statusError } from "./http.ts";
import type { RegistryLocation } from "./location.ts";
import { addToReferrersTag } from "./referrers-tag.ts";
import {
  openSession,
  type RegistryOptions,
  type RegistrySession,
  type Scope,
} from "./registry-session.ts";
import type { BlobDescriptor } from "./transport.ts";

/** Blobs up to this size are sent in one request. */
const SINGLE_REQUEST = 4 << 20;
/** How often a blob is tried, and how often in a row an upload that breaks off is taken up without progress. */
const ATTEMPTS = 5;
/** For the registry to take in what it has got, in milliseconds. */
const COMMIT_TIMEOUT = 10 * 60_000;
const EMPTY = new Uint8Array(0);

export interface PushOptions extends RegistryOptions {
  /** Repositories of this registry that may have the image's blobs. */
  readonly mountFrom?: readonly string[];
  /** A directory for large temporary files. */
  readonly scratch: string;
}

/** Opens a registry for writing. Throws if it cannot be reached or is no registry. */
export async function openRegistryDestination(
  linux: Linux,
  reference: RegistryLocation,
  { mountFrom = [], scratch, ...options }: PushOptions,
): Promise<Destination> {
  const others = mountFrom.filter((name) => name !== reference.repository);
  const scopes: Scope[] = [
    `repository:${reference.repository}:pull,push`,
    ...others.map((name): Scope => `repository:${name}:pull`),
  ];
  const session = await openSession(reference, options, scopes);
  try {
    const fd = linux.openat(AT_FDCWD, scratch, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return new RegistryDestination(linux, fd, session, reference, others);
  } catch (error) {
    await session.close();
    throw error;
  }
}

class RegistryDestination implements Destination {
  readonly scratch: Fd;
  readonly #linux: Linux;
  readonly #session: RegistrySession;
  readonly #reference: RegistryLocation;
  readonly #mountFrom: readonly string[];

  constructor(
    linux: Linux,
    scratch: Fd,
    session: RegistrySession,
    reference: RegistryLocation,
    mountFrom: readonly string[],
  ) {
    this.scratch = scratch;
    this.#linux = linux;
    this.#session = session;
    this.#reference = reference;
    this.#mountFrom = mountFrom;
  }

  async close(): Promise<void> {
    this.#linux.close(this.scratch);
    await this.#session.close();
  }

  async obtain({ digest }: BlobDescriptor, signal?: AbortSignal): Promise<boolean> {
    const url = this.#session.url(`blobs/${digest}`);
    const response = await this.#session.send(url, { method: "HEAD", signal });
    await response.discard();
    if (response.status === 200) return true;
    if (response.status !== 404) throw await refusal(url, response);
    for (const from of this.#mountFrom) {
      if (await this.#mount(digest, from, signal)) return true;
    }
    return false;
  }

  /** Whether the registry took the blob from another one of its repositories. It need not be able or willing to. */
  async #mount(digest: string, from: string, signal: AbortSignal | undefined): Promise<boolean> {
    const url = this.#session.url("blobs/uploads/");
    url.search = new URLSearchParams({ mount: digest, from }).toString();
    const response = await this.#session.send(url, { method: "POST", body: EMPTY, signal });
    await response.discard();
    return response.status === 201;
  }

  async putBlob(blob: OutgoingBlob, signal?: AbortSignal): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#upload(blob, signal);
        return;
      } catch (error) {
        signal?.throwIfAborted();
        if (attempt === ATTEMPTS || !mayPass(error)) throw error;
      }
      await this.#session.pause(attempt, signal);
      // what broke off may have been the answer
      if (await this.obtain(blob, signal)) return;
    }
  }

  async #upload(blob: OutgoingBlob, signal: AbortSignal | undefined): Promise<void> {
    const start = this.#session.url("blobs/uploads/");
    const response = await this.#session.send(start, { method: "POST", body: EMPTY, signal });
    let url = await nextLocation(start, response, 202);
    const whole = blob.size <= SINGLE_REQUEST;
    if (!whole) url = await this.#sendPieces(url, blob, signal);

    const query = `${url.search === "" ? "" : "&"}digest=${encodeURIComponent(blob.digest)}`;
    const commit = new URL(url.href + (url.search === "" ? "?" : "") + query);
    const body = whole ? () => blob.read(0) : EMPTY;
    const done = await this.#session.send(commit, {
      method: "PUT",
      headers: contentHeaders(whole ? blob.size : 0),
      body,
      attempts: 1,
      timeout: COMMIT_TIMEOUT,
      signal,
    });
    if (done.status !== 201) throw await statusError(commit, done);
    await done.discard();
  }

  /** Sends a blob's bytes. What breaks off is taken up where the registry says that it has got to. */
  async #sendPieces(start: URL, blob: OutgoingBlob, signal: AbortSignal | undefined): Promise<URL> {
    let url = start;
    let offset = 0;
    for (let fruitless = 0; ; ) {
      try {
        const range = offset === 0 ? {} : { "content-range": `${offset}-${blob.size - 1}` };
        const from = offset;
        const response = await this.#session.send(url, {
          method: "PATCH",
          headers: { ...contentHeaders(blob.size - offset), ...range },
          body: () => blob.read(from),
          attempts: 1,
          timeout: COMMIT_TIMEOUT,
          signal,
        });
        return await nextLocation(url, response, 202);
      } catch (error) {
        signal?.throwIfAborted();
        if (!isTransient(error, true)) throw error;
        fruitless++;
        await this.#session.pause(fruitless, signal);
        const state = await this.#progress(url, signal);
        if (state === undefined || fruitless === ATTEMPTS) throw error;
        if (state.offset > offset) fruitless = 0;
        ({ url, offset } = state);
        if (offset === blob.size) return url;
      }
    }
  }

  /** Where an upload has got to; `undefined` if the registry has forgotten it. */
  async #progress(url: URL, signal: AbortSignal | undefined) {
    const response = await this.#session.send(url, { signal });
    const last = /^(?:bytes=)?0-(\d+)$/.exec(response.header("range") ?? "")?.[1];
    if (response.status !== 204 || last === undefined) {
      await response.discard();
      return undefined;
    }
    const next = await nextLocation(url, response, 204);
    // "0-0" is said of nothing, too: one byte more or less is not worth a guess
    return last === "0" ? undefined : { url: next, offset: Number(last) + 1 };
  }

  async putManifest(manifest: OutgoingManifest): Promise<void> {
    const { tag, digest: expected } = this.#reference;
    const { digest, bytes, mediaType, subject } = manifest;
    if (expected !== undefined && expected !== digest) {
      throw new Error(`the manifest would have the digest ${digest}, expected ${expected}`);
    }
    const url = this.#session.url(`manifests/${tag ?? digest}`);
    const response = await this.#session.send(url, {
      method: "PUT",
      headers: { "content-type": mediaType },
      body: bytes,
    });
    if (response.status !== 201) throw await statusError(url, response);
    await response.discard();
    const stated = response.header("docker-content-digest");
    if (stated?.startsWith("sha256:") && stated !== digest) {
      throw new Error(`${display(url)}: the registry took ${digest} for ${stated}`);
    }
    // A registry that knows about referrers says so; for the others there is a tag.
    if (subject !== undefined && response.header("oci-subject") === undefined) {
      await addToReferrersTag(this.#session, subject, manifest);
    }
  }
}

function contentHeaders(size: number): Record<string, string> {
  return { "content-type": "application/octet-stream", "content-length": String(size) };
}

/** Where the registry wants the next request of an upload. */
async function nextLocation(url: URL, response: HttpResponse, expected: number): Promise<URL> {
  if (response.status !== expected) throw await statusError(url, response);
  await response.discard();
  const location = response.header("location");
  if (location === undefined || !URL.canParse(location, url.href)) {
    throw new Error(`${display(url)}: expected the location of the upload`);
  }
  const next = new URL(location, url);
  // behind a proxy a registry may not know that it is spoken to over HTTPS
  if (url.protocol === "https:" && next.hostname === url.hostname) next.protocol = "https:";
  if (next.protocol !== url.protocol) {
    throw new Error(`${display(url)}: the upload is to go to ${display(next)}, expected HTTPS`);
  }
  return next;
}

/** Whether a new upload may do better: the connection broke off, or the registry is overloaded or lost the upload. */
function mayPass(error: unknown): boolean {
  if (!(error instanceof HttpStatusError)) return isTransient(error, true);
  return error.status >= 500 || [404, 408, 416, 429].includes(error.status);
}
