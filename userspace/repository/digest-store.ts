/**
 * A directory of objects without a repository around it, as mkcomposefs makes it for the option `basedir` of a mount:
 * `xx/rest` by the fs-verity digest, with fs-verity where the file system can do it.
 */
import { type HashName, objectPath, sameDigest, toHex } from "../../src/formats/digest.ts";
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_RDONLY,
} from "../../src/linux/constants.ts";
import { writeAll } from "../../src/linux/files.ts";
import { type Fd, isErrno } from "../../src/linux/linux.ts";
import { enableVerity, measureVerity } from "../../src/linux/verity.ts";
import type { Content, TakeContent } from "../scan.ts";
import { cloneContent, readContent } from "./file-content.ts";
import { makeDirectory } from "./links.ts";
import type { Platform } from "./platform.ts";
import { TemporaryFile } from "./temporary-file.ts";

const OBJECT_MODE = 0o644;
const TEMPORARY = ".tmp-";

/** Only hashes the content of files. */
export function hashContent(platform: Platform, hash: HashName): TakeContent {
  return (fd) => {
    const digester = platform.digester(hash);
    const size = readContent(platform.linux, fd, (piece) => digester.update(piece));
    return { size, digest: digester.digest() };
  };
}

/** Hashes the content of files and sees to it that the store has it. The directory is made if it is not there. */
export class DigestStore {
  readonly #platform: Platform;
  readonly #hash: HashName;
  readonly #directory: Fd;
  readonly #hashContent: TakeContent;
  /** Objects that were stored or found good, in hex. */
  readonly #known = new Set<string>();

  constructor(platform: Platform, path: string, hash: HashName) {
    this.#platform = platform;
    this.#hash = hash;
    this.#hashContent = hashContent(platform, hash);
    makeDirectory(platform.linux, AT_FDCWD, path);
    this.#directory = platform.linux.openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  }

  /** Makes what was stored durable. */
  sync(): void {
    this.#platform.linux.syncfs(this.#directory);
  }

  close(): void {
    this.#platform.linux.close(this.#directory);
  }

  readonly take: TakeContent = (fd) => {
    const { linux } = this.#platform;
    const content = this.#hashContent(fd);
    if (this.#has(content)) return content;
    const file = new TemporaryFile(linux, this.#directory, TEMPORARY, OBJECT_MODE);
    try {
      if (cloneContent(linux, fd, file.fd) !== "cloned") {
        readContent(linux, fd, (piece) => writeAll(linux, file.fd, piece));
      }
      // The file may have changed since; what was copied is what counts.
      const copied = this.#seal(file);
      const path = objectPath(toHex(copied.digest));
      makeDirectory(linux, this.#directory, path.slice(0, 2));
      if (!file.publish(this.#directory, path) && !this.#has(copied)) {
        file.replace(this.#directory, path);
      }
      this.#known.add(toHex(copied.digest));
      return copied;
    } finally {
      file.discard();
    }
  };

  /** Enables fs-verity if that can be done, and returns the content's digest, by the kernel or computed. */
  #seal(file: TemporaryFile): Content {
    const { linux, pause } = this.#platform;
    const measured = file.enableVerity(this.#hash, pause);
    const size = linux.statx(file.fd, "", AT_EMPTY_PATH).size;
    if (measured.state === "verity") return { size, digest: measured.digest };
    return this.#hashContent(file.fd);
  }

  /** Whether the store has the object as it must be; it gets fs-verity if it has none. */
  #has(content: Content): boolean {
    const hex = toHex(content.digest);
    if (!this.#known.has(hex) && this.#isIntact(content)) this.#known.add(hex);
    return this.#known.has(hex);
  }

  #isIntact({ digest, size }: Content): boolean {
    const { linux, pause } = this.#platform;
    const path = objectPath(toHex(digest));
    let fd: Fd;
    try {
      fd = linux.openat(this.#directory, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    } catch (error) {
      if (isErrno(error, "ENOENT")) return false;
      throw error;
    }
    try {
      const measured = measureVerity(linux, fd, this.#hash);
      if (measured.state === "verity") return sameDigest(measured.digest, digest);
      if (measured.state === "other-algorithm") return false;
      const found = this.#hashContent(fd);
      if (found.size !== size || !sameDigest(found.digest, digest)) return false;
      if (measured.state === "none") enableVerity(linux, fd, this.#hash, pause);
      return true;
    } finally {
      linux.close(fd);
    }
  }
}
