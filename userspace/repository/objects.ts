/**
 * The object store: files named by the fs-verity digest of their content.
 *
 * Order of writes: a temporary file gets the content; in a secure repository fs-verity is enabled and the digest is what
 * the kernel measures, else it is computed from what was written; then one atomic step gives the file its name. So any
 * number of writers may store the same object, and an interrupted one leaves no object behind. Objects are not synced
 * one by one: whoever makes a link into the store syncs the file system before.
 */
import {
  DIGEST_SIZE,
  type HashName,
  objectPath,
  sameDigest,
  toHex,
} from "../../src/formats/digest.ts";
import {
  AT_SYMLINK_NOFOLLOW,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_RDONLY,
  S_IFMT,
  S_IFREG,
} from "../../src/linux/constants.ts";
import { readAll, writeAll } from "../../src/linux/files.ts";
import { type Fd, isErrno, type Statx } from "../../src/linux/linux.ts";
import { describeMeasured, type Measured, measureVerity } from "../../src/linux/verity.ts";
import { RepositoryError } from "./errors.ts";
import { OBJECTS, TEMPORARY_OBJECT } from "./layout.ts";
import { makeDirectory } from "./links.ts";
import { HeldObjects, type ObjectWriter, type StoredObject } from "./object-writer.ts";
import { computeDigest, type Digester, type Platform } from "./platform.ts";
import { TemporaryFile } from "./temporary-file.ts";

const OBJECT_MODE = 0o644;
const DEFAULT_READ_LIMIT = 64 << 20;

export interface StoreOptions {
  readonly hash: HashName;
  /** Objects that are written get fs-verity. */
  readonly verity: boolean;
  /** Objects that are read need not have fs-verity. */
  readonly insecure: boolean;
}

export class ObjectStore {
  readonly #platform: Platform;
  readonly #root: Fd;
  readonly #hash: HashName;
  readonly #verity: boolean;
  readonly #insecure: boolean;
  /** Objects that are known to be damaged, in hex. */
  readonly #distrusted = new Set<string>();
  readonly #held: HeldObjects;
  #directory: Fd | undefined;

  /** The store of the repository whose directory is `root`. */
  constructor(platform: Platform, root: Fd, { hash, verity, insecure }: StoreOptions) {
    this.#platform = platform;
    this.#root = root;
    this.#hash = hash;
    this.#verity = verity;
    this.#insecure = insecure;
    this.#held = new HeldObjects(
      (data) => this.store(data),
      () => this.#createFile(platform.digester(hash)),
    );
  }

  close(): void {
    if (this.#directory !== undefined) this.#platform.linux.close(this.#directory);
    this.#directory = undefined;
  }

  /** The directory `objects/`; made first if it is not there and `make` is set. */
  directory(make = false): Fd {
    if (this.#directory !== undefined) return this.#directory;
    const { linux } = this.#platform;
    if (make) makeDirectory(linux, this.#root, OBJECTS);
    this.#directory = linux.openat(this.#root, OBJECTS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return this.#directory;
  }

  /** Stores bytes. */
  store(data: Uint8Array): StoredObject {
    const digest = computeDigest(this.#platform, this.#hash, data);
    this.directory(true);
    if (this.isIntact(digest, data.length)) return { digest, size: data.length, existing: true };
    const file = this.temporaryFile();
    try {
      writeAll(this.#platform.linux, file.fd, data);
      return this.publish(file, data.length, digest);
    } finally {
      file.discard();
    }
  }

  /** Starts an object whose bytes arrive in pieces. */
  create(): ObjectWriter {
    this.directory(true);
    return this.#verity ? this.#createFile(undefined) : this.#held.create();
  }

  /** An object that is a file from the start. */
  #createFile(digester: Digester | undefined): ObjectWriter {
    const { linux } = this.#platform;
    const file = this.temporaryFile();
    let size = 0;
    return {
      write: (chunk) => {
        writeAll(linux, file.fd, chunk);
        digester?.update(chunk);
        size += chunk.length;
      },
      finish: () => {
        try {
          return this.publish(file, size, digester?.digest());
        } finally {
          file.discard();
        }
      },
      abort: () => file.discard(),
    };
  }

  /** Takes an object for missing, until it is stored anew. */
  distrust(digest: Uint8Array): void {
    this.#distrusted.add(toHex(digest));
  }

  /** Takes an object that was stored anew for what it is. */
  trust(digest: Uint8Array): void {
    this.#distrusted.delete(toHex(digest));
  }

  /** Takes objects for what they are again. */
  trustAll(): void {
    this.#distrusted.clear();
  }

  /** Whether there is a file of this name. */
  has(digest: Uint8Array): boolean {
    return this.#stat(digest) !== undefined;
  }

  /** Size of an object in bytes. */
  size(digest: Uint8Array): number {
    const stat = this.#stat(digest);
    if (stat === undefined) throw missing(digest);
    return stat.size;
  }

  /**
   * Opens an object. Its digest as the kernel measures it must be its name; only in an insecure repository may it have none,
   * and then `measured` is false.
   */
  open(digest: Uint8Array): { readonly fd: Fd; readonly measured: boolean } {
    const { linux } = this.#platform;
    const fd = this.#openFile(digest);
    if (fd === undefined) throw missing(digest);
    try {
      const measured = measureVerity(linux, fd, this.#hash);
      if (measured.state === "verity") {
        if (!sameDigest(measured.digest, digest)) throw different(digest, measured.digest);
        return { fd, measured: true };
      }
      if (this.#insecure && measured.state !== "other-algorithm") return { fd, measured: false };
      throw unverified(digest, measured);
    } catch (error) {
      linux.close(fd);
      throw error;
    }
  }

  /** The first bytes of an object, at most so many; they are only checked where the kernel does so. */
  start(digest: Uint8Array, length: number): Uint8Array {
    const { linux } = this.#platform;
    const { fd } = this.open(digest);
    try {
      const start = new Uint8Array(length);
      return start.subarray(0, linux.read(fd, start, 0));
    } finally {
      linux.close(fd);
    }
  }

  /** Reads a whole object. Where the kernel does not check its bytes, they are checked here. */
  read(digest: Uint8Array, limit = DEFAULT_READ_LIMIT): Uint8Array {
    const { linux } = this.#platform;
    const { fd, measured } = this.open(digest);
    try {
      const data = readAll(linux, fd, limit);
      if (!measured) {
        const actual = computeDigest(this.#platform, this.#hash, data);
        if (!sameDigest(actual, digest)) throw different(digest, actual);
      }
      return data;
    } catch (error) {
      if (error instanceof RepositoryError) throw error;
      throw new Error(`object ${toHex(digest)}`, { cause: error });
    } finally {
      linux.close(fd);
    }
  }

  /**
   * Gives a complete file its name, which is its digest. `computed` is that if it was computed here; with fs-verity the
   * kernel decides. The caller discards the file afterwards, whatever came of it.
   */
  publish(file: TemporaryFile, size: number, computed: Uint8Array | undefined): StoredObject {
    const digest = this.#verity || computed === undefined ? this.#seal(file, computed) : computed;
    if (this.isIntact(digest, size)) return { digest, size, existing: true };
    const directory = this.directory();
    const path = objectPath(toHex(digest));
    if (!this.#publishIn(directory, file, path)) {
      // Another writer was faster; or what has the name is damaged (by a power cut, say), and then its place is taken.
      if (this.isIntact(digest, size)) return { digest, size, existing: true };
      file.replace(directory, path);
    }
    this.trust(digest);
    return { digest, size, existing: false };
  }

  #publishIn(directory: Fd, file: TemporaryFile, path: string): boolean {
    try {
      return file.publish(directory, path);
    } catch (error) {
      if (!isErrno(error, "ENOENT")) throw error;
      makeDirectory(this.#platform.linux, directory, path.slice(0, 2));
      return file.publish(directory, path);
    }
  }

  /** Has the kernel hash the file and returns its digest. */
  #seal(file: TemporaryFile, expected: Uint8Array | undefined): Uint8Array {
    const measured = file.enableVerity(this.#hash, this.#platform.pause);
    if (measured.state !== "verity") {
      throw new RepositoryError("no-verity", `store object: ${describeMeasured(measured)}`);
    }
    if (expected !== undefined && !sameDigest(measured.digest, expected)) {
      throw different(expected, measured.digest);
    }
    return measured.digest;
  }

  /**
   * Whether the store has the object as it must be: with its fs-verity digest; in a repository where it need not have one,
   * with its size, which a file that a power cut caught does not have.
   */
  isIntact(digest: Uint8Array, size: number): boolean {
    const { linux } = this.#platform;
    if (!this.#verity && this.#stat(digest)?.size !== size) return false;
    const fd = this.#openFile(digest);
    if (fd === undefined) return false;
    try {
      const measured = measureVerity(linux, fd, this.#hash);
      if (measured.state === "verity") return sameDigest(measured.digest, digest);
      return !this.#verity && measured.state !== "other-algorithm";
    } finally {
      linux.close(fd);
    }
  }

  #openFile(digest: Uint8Array): Fd | undefined {
    const flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
    return this.#at(digest, (directory, path) =>
      this.#platform.linux.openat(directory, path, flags),
    );
  }

  #stat(digest: Uint8Array): Statx | undefined {
    const stat = this.#at(digest, (directory, path) =>
      this.#platform.linux.statx(directory, path, AT_SYMLINK_NOFOLLOW),
    );
    return stat !== undefined && (stat.mode & S_IFMT) === S_IFREG ? stat : undefined;
  }

  #at<T>(digest: Uint8Array, call: (directory: Fd, path: string) => T): T | undefined {
    if (digest.length !== DIGEST_SIZE[this.#hash]) {
      throw new RepositoryError("bad-name", `${toHex(digest)} is no ${this.#hash} digest`);
    }
    const hex = toHex(digest);
    if (this.#distrusted.has(hex)) return undefined;
    try {
      return call(this.directory(), objectPath(hex));
    } catch (error) {
      if (isErrno(error, "ENOENT", "ENOTDIR")) return undefined;
      throw error;
    }
  }

  /** A file that can become an object: see `publish`. */
  temporaryFile(): TemporaryFile {
    return new TemporaryFile(this.#platform.linux, this.directory(), TEMPORARY_OBJECT, OBJECT_MODE);
  }
}

function missing(digest: Uint8Array): RepositoryError {
  return new RepositoryError("not-found", `no object ${toHex(digest)}`);
}

function different(digest: Uint8Array, actual: Uint8Array): RepositoryError {
  return new RepositoryError(
    "corrupt",
    `object ${toHex(digest)} is damaged: its fs-verity digest is ${toHex(actual)}`,
  );
}

function unverified(
  digest: Uint8Array,
  measured: Exclude<Measured, { state: "verity" }>,
): RepositoryError {
  return new RepositoryError("corrupt", `object ${toHex(digest)}: ${describeMeasured(measured)}`);
}
