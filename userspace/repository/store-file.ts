/**
 * Files of this machine as objects: shared blocks where the file system has them, else, where that is safe, a second name
 * of the file itself, else a copy.
 */
import { type HashName, objectPath, toHex } from "../../src/formats/digest.ts";
import { AT_EMPTY_PATH, S_IFMT, S_IFREG } from "../../src/linux/constants.ts";
import { type Fd, isErrno, type Statx } from "../../src/linux/linux.ts";
import { enableVerity, measureVerity } from "../../src/linux/verity.ts";
import { cloneContent, readContent } from "./file-content.ts";
import { makeDirectory } from "./links.ts";
import type { StoredObject } from "./object-writer.ts";
import type { ObjectStore } from "./objects.ts";
import type { Platform } from "./platform.ts";

const SET_ID = 0o6000;
const OTHERS_WRITE = 0o022;

export type StoreMethod = "existing" | "reflinked" | "hardlinked" | "copied";

export interface StoredFile extends StoredObject {
  /** How its content came into the store; "existing": it was there. */
  readonly method: StoreMethod;
}

export interface StoreFileOptions {
  /**
   * The caller vouches that the file is never written to again, so the object may be the file itself, by another name (the
   * layers of a container store are such files). It then gets fs-verity, which makes its content immutable for good.
   */
  readonly hardlink?: boolean;
  /** If false, a file that can be neither cloned nor linked is an error. */
  readonly copy?: boolean;
}

export class FileStore {
  readonly #platform: Platform;
  readonly #objects: ObjectStore;
  readonly #hash: HashName;
  readonly #verity: boolean;
  /** Devices whose files cannot share blocks with the store's. */
  readonly #unclonable = new Set<string>();

  /** `verity`: objects must have fs-verity. */
  constructor(platform: Platform, objects: ObjectStore, hash: HashName, verity: boolean) {
    this.#platform = platform;
    this.#objects = objects;
    this.#hash = hash;
    this.#verity = verity;
  }

  /**
   * Stores the content of a regular file, which is open for reading only; its position is neither used nor changed.
   *
   * 1. If the kernel has its digest and the store has the object, nothing is done.
   * 2. Its blocks are shared (`FICLONE`) with a new file. A device that cannot do so is not asked again.
   * 3. If `hardlink` is set, the file itself gets the object's name. An object shares then all but the name with the file, so
   *    this is done only where it does no harm:
   *    - The very file has fs-verity with the repository's hash, or gets it now, so that nobody can ever change its content.
   *      Where the file system has no fs-verity and the repository does without, nobody but its owner may write to it, and
   *      the owner is root or whom this process runs as.
   *    - It is neither set-user-ID nor set-group-ID: no such program must outlive its removal as an object.
   *    - The kernel lets us: file and store are on one mount, and `linkat` with `AT_EMPTY_PATH` wants `CAP_DAC_READ_SEARCH`.
   * 4. It is copied.
   *
   * What counts is always the digest of what is in the store, not of what the file held before.
   */
  store(fd: Fd, { hardlink = false, copy = true }: StoreFileOptions = {}): StoredFile {
    const { linux } = this.#platform;
    const stat = linux.statx(fd, "", AT_EMPTY_PATH);
    if ((stat.mode & S_IFMT) !== S_IFREG) throw new Error("expected a regular file");
    this.#objects.directory(true);
    const stored =
      this.#find(fd, stat) ??
      this.#clone(fd, stat) ??
      (hardlink ? this.#link(fd, stat) : undefined) ??
      (copy ? this.#copy(fd) : undefined);
    if (stored !== undefined) return stored;
    const tried = hardlink
      ? "neither share blocks with the repository nor be"
      : "not share blocks with the repository, nor may it be";
    throw new Error(`the file can ${tried} linked into it, and it is not to be copied`);
  }

  /** Whether the store has it, as far as that is known without reading. */
  #find(fd: Fd, { size }: Statx): StoredFile | undefined {
    const measured = measureVerity(this.#platform.linux, fd, this.#hash);
    if (measured.state !== "verity" || !this.#objects.isIntact(measured.digest, size)) {
      return undefined;
    }
    return { digest: measured.digest, size, existing: true, method: "existing" };
  }

  #clone(fd: Fd, stat: Statx): StoredFile | undefined {
    const { linux } = this.#platform;
    const device = deviceOf(stat);
    if (this.#unclonable.has(device)) return undefined;
    const file = this.#objects.temporaryFile();
    try {
      const outcome = cloneContent(linux, fd, file.fd);
      if (outcome === "never") this.#unclonable.add(device);
      if (outcome !== "cloned") return undefined;
      const { size } = linux.statx(file.fd, "", AT_EMPTY_PATH);
      const computed = this.#verity ? undefined : this.#compute(file.fd);
      return withMethod(this.#objects.publish(file, size, computed), "reflinked");
    } finally {
      file.discard();
    }
  }

  #link(fd: Fd, stat: Statx): StoredFile | undefined {
    const { linux } = this.#platform;
    if ((stat.mode & SET_ID) !== 0) return undefined;
    // Before anything is done to a file that cannot be linked anyway.
    const store = linux.statx(this.#objects.directory(), "", AT_EMPTY_PATH);
    if (deviceOf(stat) !== deviceOf(store) || stat.mountId !== store.mountId) return undefined;
    const digest = this.#digestForLink(fd, stat);
    if (digest === undefined) return undefined;
    const { size } = linux.statx(fd, "", AT_EMPTY_PATH);
    const existing = { digest, size, existing: true, method: "existing" } as const;
    if (this.#objects.isIntact(digest, size)) return existing;
    const path = objectPath(toHex(digest));
    makeDirectory(linux, this.#objects.directory(), path.slice(0, 2));
    try {
      linux.linkat(fd, "", this.#objects.directory(), path, AT_EMPTY_PATH);
    } catch (error) {
      // Without the capability the kernel says ENOENT.
      if (isErrno(error, "EXDEV", "EPERM", "EACCES", "ENOENT", "EMLINK", "EOPNOTSUPP")) {
        return undefined;
      }
      if (!isErrno(error, "EEXIST")) throw error;
      // What has the name is damaged, unless another writer was faster: a copy can take its place.
      return this.#objects.isIntact(digest, size) ? existing : undefined;
    }
    this.#objects.trust(digest);
    return { digest, size, existing: false, method: "hardlinked" };
  }

  /** The digest of a file that may become an object as it is; sees to it that nobody can change it any more. */
  #digestForLink(fd: Fd, { mode, uid }: Statx): Uint8Array | undefined {
    const { linux, pause } = this.#platform;
    try {
      enableVerity(linux, fd, this.#hash, pause);
    } catch (error) {
      // Somebody has it open for writing, or we may not.
      if (isErrno(error, "ETXTBSY", "EACCES", "EPERM", "EROFS", "EINVAL")) return undefined;
      throw error;
    }
    const measured = measureVerity(linux, fd, this.#hash);
    if (measured.state === "verity") return measured.digest;
    if (this.#verity || measured.state !== "unsupported") return undefined;
    const ours = uid === 0 || uid === linux.geteuid();
    return ours && (mode & OTHERS_WRITE) === 0 ? this.#compute(fd) : undefined;
  }

  #copy(fd: Fd): StoredFile {
    const writer = this.#objects.create();
    try {
      readContent(this.#platform.linux, fd, (piece) => writer.write(piece));
      return withMethod(writer.finish(), "copied");
    } catch (error) {
      writer.abort();
      throw error;
    }
  }

  #compute(fd: Fd): Uint8Array {
    const digester = this.#platform.digester(this.#hash);
    readContent(this.#platform.linux, fd, (piece) => digester.update(piece));
    return digester.digest();
  }
}

function deviceOf({ devMajor, devMinor }: Statx): string {
  return `${devMajor}:${devMinor}`;
}

function withMethod(stored: StoredObject, method: StoreMethod): StoredFile {
  return { ...stored, method: stored.existing ? "existing" : method };
}
