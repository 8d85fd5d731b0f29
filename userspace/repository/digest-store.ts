/**
 * A directory of objects without a repository around it, as mkcomposefs makes it for the option `basedir` of a mount:
 * `xx/rest` by the fs-verity digest, with fs-verity where the file system can do it.
 */
import { type HashName, objectPath, sameDigest, toHex } from "../../src/formats/digest.ts";
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  FICLONE,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_RDONLY,
} from "../../src/linux/constants.ts";
import { writeAll } from "../../src/linux/files.ts";
import { type Fd, isErrno, type Linux } from "../../src/linux/linux.ts";
import { enableVerity, measureVerity } from "../../src/linux/verity.ts";
import type { Content, TakeContent } from "../scan.ts";
import { makeDirectory } from "./links.ts";
import type { Digester, Platform } from "./platform.ts";
import { TemporaryFile } from "./temporary-file.ts";

const OBJECT_MODE = 0o644;
const TEMPORARY = ".tmp-";
const BUFFER = 1 << 20;

/** Only hashes the content of files. */
export function hashContent(platform: Platform, hash: HashName): TakeContent {
  const buffer = new Uint8Array(BUFFER);
  return (fd) => {
    const digester = platform.digester(hash);
    return { size: readInto(platform.linux, fd, digester, buffer), digest: digester.digest() };
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
      copyContent(linux, fd, file.fd);
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

/** Hashes from the start of the file; returns the number of bytes. */
function readInto(linux: Linux, fd: Fd, digester: Digester, buffer: Uint8Array): number {
  for (let at = 0; ; ) {
    const count = linux.read(fd, buffer, at);
    if (count === 0) return at;
    digester.update(buffer.subarray(0, count));
    at += count;
  }
}

/** All of `from` into `to`, which is empty: shared blocks where the file system has them. */
function copyContent(linux: Linux, from: Fd, to: Fd): void {
  try {
    linux.ioctlValue(to, FICLONE, from);
    return;
  } catch (error) {
    if (!isErrno(error, "EOPNOTSUPP", "EXDEV", "EINVAL", "ENOTTY")) throw error;
  }
  const buffer = new Uint8Array(BUFFER);
  for (let at = 0; ; ) {
    const count = linux.read(from, buffer, at);
    if (count === 0) return;
    writeAll(linux, to, buffer.subarray(0, count));
    at += count;
  }
}
