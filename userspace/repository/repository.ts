/**
 * An open composefs repository: an object store addressed by fs-verity digests, streams and images that link into it, and
 * references that keep them alive. The format is composefs-rs's.
 *
 * Everything is synchronous. A `Repository` holds a shared lock for its life (garbage collection waits for it), so close
 * it: `using repository = openRepository(path)`. Any number of processes and threads may write at once, each with its own
 * `Repository`.
 */
import { type HashName, toHex } from "../../src/formats/digest.ts";
import {
  type ErofsFormat,
  effectiveFormats,
  unknownReadOnlyFeatures,
} from "../../src/formats/meta-json.ts";
import { contentTypeOf, type Splitstream } from "../../src/formats/splitstream.ts";
import {
  AT_FDCWD,
  O_CLOEXEC,
  O_DIRECTORY,
  O_RDONLY,
  ST_RDONLY,
  W_OK,
} from "../../src/linux/constants.ts";
import { type Fd, isErrno, LinuxError } from "../../src/linux/linux.ts";
import { isProblem, RepositoryError } from "./errors.ts";
import { resolveImage } from "./images.ts";
import {
  baseName,
  entryPath,
  type LinkKind,
  META_JSON,
  objectFile,
  refPath,
  refsDirectory,
} from "./layout.ts";
import { removeLeftovers } from "./leftovers.ts";
import { findLinks, listLinks, readLink, removeLink, setLink } from "./links.ts";
import { lockShared, withExclusiveLock, withRewriteLock } from "./lock.ts";
import {
  loadDamagedMetadata,
  loadMetadata,
  type StoredMetadata,
  writeMetadata,
} from "./metadata-file.ts";
import { nodePlatform } from "./node-platform.ts";
import type { ObjectWriter, StoredObject } from "./object-writer.ts";
import { ObjectStore } from "./objects.ts";
import type { Platform } from "./platform.ts";
import {
  FileStore,
  type StoredFile,
  type StoreFileOptions,
  type StoreMethod,
} from "./store-file.ts";
import { Streams } from "./streams.ts";

export type { ErofsFormat, ObjectWriter, StoredFile, StoredObject, StoreFileOptions, StoreMethod };

/** So much of a splitstream holds its header and what that leads to, as all writers place it, in bytes. */
const STREAM_START = 512;

export interface OpenOptions {
  /** Do without fs-verity even if the repository has it. */
  readonly insecure?: boolean;
  /** Fail if the repository does not enforce fs-verity. */
  readonly requireVerity?: boolean;
  /**
   * Open it even if meta.json is damaged, for reading only: what counts then is what follows from the objects. For those
   * who look what is wrong.
   */
  readonly damagedMetadata?: boolean;
  /** Fail if the repository has another hash. */
  readonly hash?: HashName;
  /** What it is called in messages, where its path means nothing to people. */
  readonly name?: string;
  /** Called once, before blocking, if another process holds the exclusive lock. */
  readonly onWait?: () => void;
  /** For tests. */
  readonly platform?: Platform;
}

export interface ImageFile {
  /** Open for reading; the caller closes it. */
  readonly fd: Fd;
  readonly digest: Uint8Array;
  /** Whether its fs-verity digest was measured, and its files' objects must have theirs (overlay `verity=require`). */
  readonly verity: boolean;
}

export interface StreamOptions {
  /** Also sets the reference `streams/refs/<ref>` to the stream. */
  readonly ref?: string;
  /**
   * What happens if the stream exists already. "keep": its object stays and its digest is returned. "replace": the link is
   * re-pointed. Layers are always kept: configs name the *object* of a layer's stream, and garbage collection follows it
   * only while it is the one that the link leads to.
   */
  readonly existing: "keep" | "replace";
}

export interface Ref {
  /** `oci/name`: the path below `streams/refs/` or `images/refs/`. */
  readonly name: string;
  /** The entry it points to: a stream's content id, an image's hex digest. */
  readonly target: string;
}

/** A repository as files, for the modules beside this one that look at all of them. */
export interface RepositoryFiles {
  readonly platform: Platform;
  /** The repository's directory. */
  readonly root: Fd;
  readonly hash: HashName;
  /** Whether all objects must have fs-verity. */
  readonly secure: boolean;
}

/**
 * Opens a repository and takes its shared lock. Never writes; a repository without meta.json (bootc up to 1.15) is understood
 * and gets one when it is first written to.
 */
export function openRepository(path: string, options: OpenOptions = {}): Repository {
  const platform = options.platform ?? nodePlatform;
  const { linux } = platform;
  const { name = path } = options;
  let root: Fd;
  try {
    root = linux.openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) throw noRepository(name);
    if (!(error instanceof LinuxError)) throw error;
    throw new LinuxError(error.errno, error.code, error.description, error.syscall, name);
  }
  try {
    lockShared(linux, root, options.onWait);
    const load = options.damagedMetadata ? loadDamagedMetadata : loadMetadata;
    const stored = load(platform, root);
    if (stored === undefined) throw noRepository(name);
    const { hash } = stored.metadata;
    if (options.hash !== undefined && options.hash !== hash) {
      throw new RepositoryError(
        "mismatch",
        `repository ${name} has ${hash}, ${options.hash} was asked for`,
      );
    }
    if (options.requireVerity && (options.insecure || !stored.secure)) {
      throw new RepositoryError("no-verity", `repository ${name} does not enforce fs-verity`, {
        hint: `cfsboot repo seal --repo ${name}`,
      });
    }
    const insecure = (options.insecure ?? false) || !stored.secure;
    return new Repository(platform, name, root, stored, insecure);
  } catch (error) {
    linux.close(root);
    if (isProblem(error, "bad-metadata")) {
      throw new RepositoryError("bad-metadata", `repository ${name}`, {
        cause: error,
        hint: options.damagedMetadata
          ? `cfsboot repo init --reset-metadata --repo ${name}`
          : `cfsboot repo fsck --repair --repo ${name}`,
      });
    }
    if (isProblem(error, "unsupported")) {
      throw new RepositoryError("unsupported", `repository ${name}`, { cause: error });
    }
    throw error;
  }
}

function noRepository(path: string): RepositoryError {
  return new RepositoryError("no-repository", `there is no repository at ${path}`, {
    hint: `cfsboot repo init --repo ${path}`,
  });
}

export class Repository implements Disposable {
  /** As given when it was opened. */
  readonly path: string;
  readonly hash: HashName;
  /** Formats that images are written in, the default one first. */
  readonly formats: readonly ErofsFormat[];
  /** Whether objects need not have fs-verity. */
  readonly insecure: boolean;
  readonly #platform: Platform;
  readonly #root: Fd;
  readonly #stored: StoredMetadata;
  readonly #objects: ObjectStore;
  readonly #streams: Streams;
  #files: FileStore | undefined;
  #writable = false;
  #rewriting = false;
  #closed = false;

  /** Takes over `root`, which holds the shared lock. Use `openRepository`. */
  constructor(
    platform: Platform,
    path: string,
    root: Fd,
    stored: StoredMetadata,
    insecure: boolean,
  ) {
    const formats = effectiveFormats(stored.metadata);
    this.path = path;
    this.hash = stored.metadata.hash;
    this.formats = [
      formats.default,
      ...formats.extra.filter((format) => format !== formats.default),
    ];
    this.insecure = insecure;
    this.#platform = platform;
    this.#root = root;
    this.#stored = stored;
    this.#objects = new ObjectStore(platform, root, {
      hash: this.hash,
      verity: stored.secure,
      insecure,
    });
    this.#streams = new Streams(platform.linux, root, this.hash, this.#objects);
  }

  /** Closes it and drops its lock. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#objects.close();
    this.#platform.linux.close(this.#root);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /**
   * Throws unless the repository can be written to: unknown features, read-only mount, permissions. Everything that writes
   * calls it first. Gives a repository that has no meta.json its own.
   */
  requireWritable(): void {
    if (this.#writable) return;
    const { linux } = this.#platform;
    const { metadata, secure, written, damage } = this.#stored;
    if (damage !== undefined) throw this.#readOnly(`its ${META_JSON} is damaged`);
    const unknown = unknownReadOnlyFeatures(metadata);
    if (unknown.length > 0) {
      throw this.#readOnly(
        `it has features that this program does not know: ${unknown.join(", ")}`,
      );
    }
    if ((linux.fstatfs(this.#root).flags & ST_RDONLY) !== 0) {
      throw this.#readOnly("its file system is mounted read-only");
    }
    try {
      linux.faccessat(this.#root, ".", W_OK);
    } catch (error) {
      if (!isErrno(error, "EACCES", "EPERM")) throw error;
      throw this.#readOnly("permission denied");
    }
    // If another process was faster with meta.json, it wrote the same.
    if (!written) writeMetadata(this.#platform, this.#root, metadata, { secure, replace: false });
    this.#writable = true;
  }

  /** Whether it has a meta.json, and whether that can be read. */
  get metadataState(): "ok" | "absent" | "damaged" {
    if (this.#stored.damage !== undefined) return "damaged";
    return this.#stored.written ? "ok" : "absent";
  }

  /** Its files, as long as it is open. */
  get files(): RepositoryFiles {
    const { hash } = this;
    return { platform: this.#platform, root: this.#root, hash, secure: !this.insecure };
  }

  /** The directory `objects/`, for mounting; the repository closes it. */
  objectsFd(): Fd {
    return this.#objects.directory();
  }

  /** Makes everything that was written so far durable. */
  sync(): void {
    this.#platform.linux.syncfs(this.#root);
  }

  /**
   * Runs `action` alone: with the exclusive lock, which nobody gets who has the repository open. The locks are exchanged, not
   * kept, so `action` must not rely on what was read before. Removes what interrupted runs have left behind.
   */
  exclusively<T>(action: (root: Fd) => T, onWait?: () => void): T {
    this.requireWritable();
    const { linux } = this.#platform;
    const alone = () => {
      removeLeftovers(linux, this.#root);
      return action(this.#root);
    };
    return withExclusiveLock(linux, this.#root, alone, onWait);
  }

  /** Stores bytes as an object. */
  storeObject(data: Uint8Array): StoredObject {
    this.requireWritable();
    return this.#objects.store(data);
  }

  /** Starts an object whose bytes arrive in pieces. */
  createObject(): ObjectWriter {
    this.requireWritable();
    return this.#objects.create();
  }

  /**
   * Stores the content of an open file of this machine without copying it, where that can be: shared blocks, else (only
   * with `hardlink`) the file itself by another name, else a copy. See `FileStore.store` for the rules.
   */
  storeFile(fd: Fd, options?: StoreFileOptions): StoredFile {
    this.requireWritable();
    this.#files ??= new FileStore(this.#platform, this.#objects, this.hash, this.#stored.secure);
    return this.#files.store(fd, options);
  }

  /** Whether the store has the object, by name: its content is not looked at. */
  hasObject(digest: Uint8Array): boolean {
    return this.#objects.has(digest);
  }

  /** Takes a damaged object for missing, until it is stored anew; it is replaced then. */
  distrustObject(digest: Uint8Array): void {
    this.#objects.distrust(digest);
  }

  /** Ends what `distrustObject` has begun. */
  trustObjects(): void {
    this.#objects.trustAll();
  }

  /** Size of an object in bytes. */
  objectSize(digest: Uint8Array): number {
    return this.#objects.size(digest);
  }

  /** Opens an object, its fs-verity digest measured (only in an insecure repository it may have none). */
  openObject(digest: Uint8Array): Fd {
    return this.#objects.open(digest).fd;
  }

  /** Reads a whole object of at most `limit` bytes (64 MiB if not given), its digest checked in any repository. */
  readObject(digest: Uint8Array, limit?: number): Uint8Array {
    return this.#objects.read(digest, limit);
  }

  /** The object that `streams/<contentId>` links to, if the link and the object are there. */
  streamObject(contentId: string): Uint8Array | undefined {
    return this.#streams.object(contentId);
  }

  /**
   * Stores the bytes of a splitstream and links it as `streams/<contentId>`, after making all that it refers to durable.
   * Returns the digest of the stream's object: of the older one if that was kept.
   */
  writeStream(contentId: string, bytes: Uint8Array, options: StreamOptions): Uint8Array {
    const stream = entryPath("streams", contentId);
    const ref = options.ref === undefined ? undefined : refPath("streams", options.ref);
    this.requireWritable();
    const digest = this.#streams.write(contentId, bytes, options.existing);
    if (ref !== undefined) setLink(this.#platform.linux, this.#root, ref, stream, "replace");
    return digest;
  }

  /**
   * Runs `action` while no other process runs one: for whoever reads a stream and writes it anew with more in it. Blocks,
   * so it is for what is soon done, and `action` must not wait for anything. It may call this again.
   */
  rewriting<T>(action: () => T): T {
    if (this.#rewriting) return action();
    this.requireWritable();
    const { linux } = this.#platform;
    this.#rewriting = true;
    try {
      return withRewriteLock(linux, this.#root, action);
    } finally {
      this.#rewriting = false;
    }
  }

  /** Reads the splitstream `streams/<contentId>`; `type` is the content type that it must have, if given. */
  readStream(contentId: string, type?: bigint): Splitstream {
    return this.#streams.read(contentId, type);
  }

  /** Reads a splitstream by the digest of its object. */
  readStreamObject(digest: Uint8Array, type?: bigint): Splitstream {
    return this.#streams.readObject(digest, type);
  }

  /** The content type of the splitstream that an object is, as its first bytes tell it: they are not checked. */
  streamType(digest: Uint8Array): bigint | undefined {
    return contentTypeOf(this.#objects.start(digest, STREAM_START));
  }

  /** Content ids of all streams, sorted. */
  listStreams(): string[] {
    return listLinks(this.#platform.linux, this.#root, "streams");
  }

  /** Removes a stream's link; false if there is none. Its object stays until garbage is collected. */
  removeStream(contentId: string): boolean {
    this.requireWritable();
    return removeLink(this.#platform.linux, this.#root, entryPath("streams", contentId));
  }

  /**
   * Stores an EROFS image, links it below `images/` and, if given, sets `images/refs/<ref>`. Returns its digest.
   * Order: the object; sync of the file system; the link; the reference.
   */
  writeImage(bytes: Uint8Array, ref?: string): Uint8Array {
    const refLink = ref === undefined ? undefined : refPath("images", ref);
    const { linux } = this.#platform;
    this.requireWritable();
    const { digest } = this.#objects.store(bytes);
    this.sync();
    const path = entryPath("images", toHex(digest));
    setLink(linux, this.#root, path, objectFile(digest), "replace");
    if (refLink !== undefined) setLink(linux, this.#root, refLink, path, "replace");
    return digest;
  }

  /**
   * Opens an image by hex digest, or by reference (`debian` or `refs/debian`). In a secure repository its fs-verity digest is
   * measured and is the one that it is linked by. No such image: the problem is "not-found".
   */
  openImage(name: string): ImageFile {
    const digest = resolveImage(this.#platform.linux, this.#root, this.hash, name);
    // In an insecure repository objects may lack fs-verity, so even an image that has it must not demand it of them.
    return { fd: this.#objects.open(digest).fd, digest, verity: !this.insecure };
  }

  /** Hex digests of all images, sorted. */
  listImages(): string[] {
    return listLinks(this.#platform.linux, this.#root, "images");
  }

  /** All references, or those whose name starts with the directory `prefix` (`oci`), sorted by name. */
  listRefs(kind: LinkKind, prefix?: string): Ref[] {
    const { linux } = this.#platform;
    const start = prefix === undefined ? "" : `${prefix}/`;
    const directory = prefix === undefined ? refsDirectory(kind) : refPath(kind, prefix);
    const refs: Ref[] = [];
    for (const path of findLinks(linux, this.#root, directory)) {
      const target = readLink(linux, this.#root, `${directory}/${path}`);
      if (target !== undefined) refs.push({ name: start + path, target: baseName(target) });
    }
    return refs;
  }

  /** The entry that a reference points to, if there is such a reference. */
  readRef(kind: LinkKind, name: string): string | undefined {
    const target = readLink(this.#platform.linux, this.#root, refPath(kind, name));
    return target === undefined ? undefined : baseName(target);
  }

  /** Points a reference to an entry, which must exist, in one atomic step. */
  setRef(kind: LinkKind, name: string, target: string): void {
    const { linux } = this.#platform;
    const path = refPath(kind, name);
    const entry = entryPath(kind, target);
    this.requireWritable();
    if (readLink(linux, this.#root, entry) === undefined) {
      throw new RepositoryError("not-found", `there is no ${entry} to refer to`);
    }
    setLink(linux, this.#root, path, entry, "replace");
  }

  /** Removes a reference; false if there is none. */
  removeRef(kind: LinkKind, name: string): boolean {
    const path = refPath(kind, name);
    this.requireWritable();
    return removeLink(this.#platform.linux, this.#root, path);
  }

  #readOnly(why: string): RepositoryError {
    return new RepositoryError("read-only", `repository ${this.path} cannot be written to: ${why}`);
  }
}
