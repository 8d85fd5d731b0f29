/**
 * An open composefs repository: an object store addressed by fs-verity digests, streams and images that link into it,
 * and references that keep them alive.
 *
 * Everything is synchronous. A `Repository` holds a shared lock for its life (garbage collection waits for it), so
 * close it: `using repository = openRepository(path)`. Any number of processes and threads may write at once, each
 * with its own `Repository`.
 */
import type { HashName } from "../../src/formats/digest.ts";
import type { Splitstream } from "../../src/formats/splitstream.ts";
import type { Fd } from "../../src/linux/linux.ts";

/** EROFS formats of a repository's images. */
export type ErofsFormat = 0 | 1 | 2;

export interface OpenOptions {
  /** Treat the repository as insecure even if it has fs-verity. */
  readonly insecure?: boolean;
  /** Fail if the repository does not enforce fs-verity. */
  readonly requireVerity?: boolean;
  /** Fail if the repository has another hash. */
  readonly hash?: HashName;
  /** Called once, before blocking, if another process holds the exclusive lock. */
  readonly onWait?: () => void;
}

/** Opens a repository and takes its shared lock. Never writes. Throws `RepositoryError`. */
export declare function openRepository(path: string, options?: OpenOptions): Repository;

export interface ImageFile {
  /** Open for reading; the caller closes it. */
  readonly fd: Fd;
  readonly digest: Uint8Array;
  /** Whether the image's fs-verity digest was measured and objects must have theirs (overlay `verity=require`). */
  readonly verity: boolean;
}

/** A regular file on its way into the store. Exactly one of `finish` and `abort` ends it. */
export interface ObjectWriter {
  /** Appends bytes; the buffer may be reused afterwards. */
  write(chunk: Uint8Array): void;
  /** Gives the file its name. `existing`: the store had it already. */
  finish(): StoredObject;
  /** Drops the file. Does nothing after `finish` or a failure. */
  abort(): void;
}

export interface StoredObject {
  readonly digest: Uint8Array;
  readonly size: number;
  readonly existing: boolean;
}

export interface StreamOptions {
  /** Also sets the reference `streams/refs/<ref>` to the stream. */
  readonly ref?: string;
  /**
   * What happens if the stream exists already. "keep": its object stays and its digest is returned (the rule for layers:
   * configs name the layer's stream *object*, so re-pointing a layer loses files at the next collection).
   * "replace": the link is re-pointed; refused for `oci-layer-` streams.
   */
  readonly existing: "keep" | "replace";
}

export interface Ref {
  /** `oci/name`, below `streams/refs/` or `images/refs/`. */
  readonly name: string;
  /** The entry it points to: a stream's content id, an image's hex digest. */
  readonly target: string;
}

export declare class Repository implements Disposable {
  /** As given when it was opened. */
  readonly path: string;
  readonly hash: HashName;
  /** Formats that images are written in, the default one first. */
  readonly formats: readonly ErofsFormat[];
  /** Whether objects need not have fs-verity. */
  readonly insecure: boolean;

  close(): void;
  [Symbol.dispose](): void;

  /** Throws unless the repository can be written to: read-only mount, permissions, unknown features. */
  requireWritable(): void;
  /** The directory `objects/`, made if needed; the repository closes it. */
  objectsFd(): Fd;
  /** Makes everything that was written so far durable (`syncfs`). */
  sync(): void;

  // objects
  /** Stores bytes as an object and returns its digest. */
  storeObject(data: Uint8Array): StoredObject;
  /** Starts a streamed object. */
  createObject(): ObjectWriter;
  /** Whether the store has the object (by name; its content is not read). */
  hasObject(digest: Uint8Array): boolean;
  /** Opens an object, its fs-verity digest measured (where there is none: only in an insecure repository). */
  openObject(digest: Uint8Array): Fd;
  /** Reads a whole object of at most `limit` bytes (default 64 MiB). */
  readObject(digest: Uint8Array, limit?: number): Uint8Array;
  /** Size in bytes of an object. */
  objectSize(digest: Uint8Array): number;

  // streams
  /** The object that `streams/<contentId>` links to, if the link and the object are there. */
  streamObject(contentId: string): Uint8Array | undefined;
  /**
   * Stores the bytes of a splitstream and links it as `streams/<contentId>`; everything it refers to must be stored
   * before: it is made durable first. Returns the digest of the stream's object (the older one if that was kept).
   */
  writeStream(contentId: string, bytes: Uint8Array, options: StreamOptions): Uint8Array;
  /** Reads the splitstream `streams/<contentId>`; `type` is the content type it must have. Missing: "not-found". */
  readStream(contentId: string, type?: bigint): Splitstream;
  /** Reads a splitstream by the digest of its object. */
  readStreamObject(digest: Uint8Array, type?: bigint): Splitstream;
  /** Content ids of all streams. */
  listStreams(): string[];
  removeStream(contentId: string): boolean;

  // images
  /** Stores an EROFS image, links it below `images/` and, if given, sets `images/refs/<ref>`. Returns its digest. */
  writeImage(bytes: Uint8Array, ref?: string): Uint8Array;
  /** Opens an image by hex digest, by reference name (`debian`), or by path below `images/` (`refs/debian`). */
  openImage(name: string): ImageFile;
  /** Hex digests of all images. */
  listImages(): string[];

  // references
  listRefs(kind: "streams" | "images", prefix?: string): Ref[];
  /** The entry that a reference points to. */
  readRef(kind: "streams" | "images", name: string): string | undefined;
  /** Points a reference to an existing entry, in one atomic step. */
  setRef(kind: "streams" | "images", name: string, target: string): void;
  /** Removes a reference; false if there was none. */
  removeRef(kind: "streams" | "images", name: string): boolean;
}
