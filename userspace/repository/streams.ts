/** Splitstreams in a repository: objects that are found by the links in `streams/`. */
import { type HashName, toHex } from "../../src/formats/digest.ts";
import { parseSplitstream, type Splitstream } from "../../src/formats/splitstream.ts";
import type { Fd, Linux } from "../../src/linux/linux.ts";
import { zstd } from "../zstd.ts";
import { RepositoryError } from "./errors.ts";
import { digestOfTarget, entryPath, LAYER_PREFIX, objectFile } from "./layout.ts";
import { readLink, setLink } from "./links.ts";
import type { ObjectStore } from "./objects.ts";

/** A layer's headers and small files are in it; no layer has as much as this. */
export const STREAM_LIMIT = 2 ** 30;

export class Streams {
  readonly #linux: Linux;
  readonly #root: Fd;
  readonly #hash: HashName;
  readonly #objects: ObjectStore;

  constructor(linux: Linux, root: Fd, hash: HashName, objects: ObjectStore) {
    this.#linux = linux;
    this.#root = root;
    this.#hash = hash;
    this.#objects = objects;
  }

  /** The object that the link leads to, if both are there. */
  object(contentId: string): Uint8Array | undefined {
    const digest = this.#linked(contentId);
    return digest !== undefined && this.#objects.has(digest) ? digest : undefined;
  }

  /** The digest that the link has, if there is one. */
  #linked(contentId: string): Uint8Array | undefined {
    const path = entryPath("streams", contentId);
    const target = readLink(this.#linux, this.#root, path);
    if (target === undefined) return undefined;
    const digest = digestOfTarget(target, this.#hash);
    if (digest !== undefined) return digest;
    throw new RepositoryError("corrupt", `${path} leads to ${target}, which is no object`);
  }

  /**
   * Stores a stream and links it, and returns the object that the link leads to then. "keep", which layers always are: an
   * existing stream stays as it is.
   *
   * Order: the object; sync of the file system, which makes it and all that it refers to durable; the link, by one atomic
   * step. So where there is a link, there is all that it stands for.
   */
  write(contentId: string, bytes: Uint8Array, existing: "keep" | "replace"): Uint8Array {
    const keep = existing === "keep" || contentId.startsWith(LAYER_PREFIX);
    const kept = keep ? this.object(contentId) : undefined;
    if (kept !== undefined) return kept;
    const { digest } = this.#objects.store(bytes);
    this.#linux.syncfs(this.#root);
    const path = entryPath("streams", contentId);
    if (!keep) {
      setLink(this.#linux, this.#root, path, objectFile(digest), "replace");
      return digest;
    }
    // Another writer may have been faster, and its stream is kept; but a link that leads nowhere gives way.
    const linked = this.#linked(contentId);
    const dangling = linked !== undefined && !this.#objects.has(linked);
    setLink(this.#linux, this.#root, path, objectFile(digest), dangling ? "replace" : "keep");
    return this.object(contentId) ?? digest;
  }

  /** Reads a stream; `type` is the content type that it must have, if given. */
  read(contentId: string, type?: bigint): Splitstream {
    const digest = this.object(contentId);
    if (digest === undefined) throw new RepositoryError("not-found", `no stream ${contentId}`);
    return this.#parse(digest, contentId, type);
  }

  /** Reads a stream by the digest of its object. */
  readObject(digest: Uint8Array, type?: bigint): Splitstream {
    return this.#parse(digest, toHex(digest), type);
  }

  #parse(digest: Uint8Array, name: string, type: bigint | undefined): Splitstream {
    const bytes = this.#objects.read(digest, STREAM_LIMIT);
    let stream: Splitstream;
    try {
      stream = parseSplitstream(bytes, this.#hash, zstd);
    } catch (error) {
      throw new RepositoryError("corrupt", `stream ${name}`, { cause: error });
    }
    if (type !== undefined && stream.contentType !== type) {
      const [is, expected] = [stream.contentType, type].map((value) => `0x${value.toString(16)}`);
      throw new RepositoryError(
        "corrupt",
        `stream ${name} has content type ${is}, ${expected} expected`,
      );
    }
    return stream;
  }
}
