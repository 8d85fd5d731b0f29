/**
 * Files that get their name when they are complete: nameless ones where the file system has them, else files with a
 * random name that is of no use to anybody.
 */
import type { HashName } from "../../src/formats/digest.ts";
import {
  AT_FDCWD,
  AT_SYMLINK_FOLLOW,
  O_CLOEXEC,
  O_CREAT,
  O_EXCL,
  O_RDWR,
  O_TMPFILE,
  RENAME_NOREPLACE,
} from "../../src/linux/constants.ts";
import { type Fd, isErrno, type Linux, LinuxError } from "../../src/linux/linux.ts";
import {
  enableVerityOrCopy,
  type Measured,
  measureVerity,
  reopenReadOnly,
} from "../../src/linux/verity.ts";

const NAME_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const NAME_LENGTH = 12;
const NAME_ATTEMPTS = 16;

export class TemporaryFile {
  readonly #linux: Linux;
  readonly #directory: Fd;
  readonly #prefix: string;
  /** Undefined: the file has no name. */
  #name: string | undefined;
  #fd: Fd | undefined;

  /** Makes a file in `directory`, open for reading and writing. `prefix` starts its name where it must have one. */
  constructor(linux: Linux, directory: Fd, prefix: string, mode: number) {
    this.#linux = linux;
    this.#directory = directory;
    this.#prefix = prefix;
    try {
      this.#fd = linux.openat(directory, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
    } catch (error) {
      if (!isErrno(error, "EOPNOTSUPP", "EISDIR", "ENOSYS")) throw error;
      withRandomName(linux, prefix, (name) => {
        this.#fd = linux.openat(directory, name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, mode);
        this.#name = name;
      });
    }
  }

  /** The open file. */
  get fd(): Fd {
    if (this.#fd === undefined) throw new Error("temporary file is closed");
    return this.#fd;
  }

  /**
   * Ends writing and enables fs-verity; nobody else may have the file open for writing. Returns what the kernel then says
   * of the file: "unsupported" if it cannot do it.
   */
  enableVerity(hash: HashName, pause: () => void): Measured {
    const writer = this.fd;
    this.#fd = undefined;
    this.#fd = reopenReadOnly(this.#linux, writer);
    const fd = enableVerityOrCopy(this.#linux, this.#directory, this.#fd, hash, pause);
    if (fd !== this.#fd) {
      this.#fd = fd;
      this.#unlink();
    }
    return measureVerity(this.#linux, fd, hash);
  }

  /** Gives the file its name unless there is one: then returns false, and the file is still temporary. */
  publish(directory: Fd, path: string): boolean {
    try {
      if (this.#name === undefined) this.#link(directory, path);
      else this.#linux.renameat2(this.#directory, this.#name, directory, path, RENAME_NOREPLACE);
    } catch (error) {
      if (isErrno(error, "EEXIST")) return false;
      throw error;
    }
    this.#name = undefined;
    this.#close();
    return true;
  }

  /** Gives the file its name in place of what has it, in one atomic step. */
  replace(directory: Fd, path: string): void {
    if (this.#name === undefined) {
      withRandomName(this.#linux, this.#prefix, (name) => {
        this.#link(this.#directory, name);
        this.#name = name;
      });
    }
    this.#linux.renameat2(this.#directory, this.#name!, directory, path, 0);
    this.#name = undefined;
    this.#close();
  }

  /** Drops the file unless it has its name; may be called at any time, and does not fail. */
  discard(): void {
    this.#close();
    this.#unlink();
  }

  #link(directory: Fd, path: string): void {
    const source = `/proc/self/fd/${this.fd}`;
    this.#linux.linkat(AT_FDCWD, source, directory, path, AT_SYMLINK_FOLLOW);
  }

  // Nothing is lost if these two fail: the content is named, or nobody wants it.
  #close(): void {
    const fd = this.#fd;
    this.#fd = undefined;
    if (fd !== undefined) ignoreFailure(() => this.#linux.close(fd));
  }

  #unlink(): void {
    const name = this.#name;
    this.#name = undefined;
    if (name !== undefined) {
      ignoreFailure(() => this.#linux.unlinkat(this.#directory, name, 0));
    }
  }
}

function ignoreFailure(call: () => void): void {
  try {
    call();
  } catch (error) {
    if (!(error instanceof LinuxError)) throw error;
  }
}

/** Calls `make` with random names until it does not fail with EEXIST. */
export function withRandomName(linux: Linux, prefix: string, make: (name: string) => void): void {
  for (let attempt = 1; ; attempt++) {
    let name = prefix;
    for (const byte of linux.getrandom(NAME_LENGTH)) {
      name += NAME_LETTERS[byte % NAME_LETTERS.length];
    }
    try {
      make(name);
      return;
    } catch (error) {
      if (!isErrno(error, "EEXIST") || attempt === NAME_ATTEMPTS) throw error;
    }
  }
}
