/** The content of files that a scan found, read when somebody asks. */
import { createHash } from "node:crypto";
import { type ByteString, fromText, toBytes } from "../../../src/formats/bytestring.ts";
import {
  AT_EMPTY_PATH,
  O_CLOEXEC,
  O_NOCTTY,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_RDONLY,
  RESOLVE_BENEATH,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
} from "../../../src/linux/constants.ts";
import { readAll } from "../../../src/linux/files.ts";
import { type Fd, isErrno, type Linux, type Statx } from "../../../src/linux/linux.ts";
import { MAX_TEXT } from "../../../src/model/etc/attributes.ts";
import type { FileContent } from "../../../src/model/etc/tree.ts";
import { readContent } from "../../repository/file-content.ts";
import { naming } from "../../scan.ts";

/** How to open what is below a directory, and nothing else. */
export const SAFE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
// a FIFO or a device that takes a file's place at the wrong time must neither block nor act
const READ_FILE = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;

/** Something changed while it was looked at. */
export class EtcChangedError extends Error {
  override readonly name = "EtcChangedError";
}

/** The content of a file that was found. */
export class FileOnDisk implements FileContent {
  readonly size: number;
  readonly #linux: Linux;
  readonly #root: Fd;
  readonly #path: ByteString;
  readonly #name: string;
  readonly #found: Statx;
  #digest: { readonly hex: string | undefined } | undefined;

  constructor(linux: Linux, root: Fd, path: ByteString, name: string, found: Statx) {
    this.#linux = linux;
    this.#root = root;
    this.#path = path;
    this.#name = name;
    this.#found = found;
    this.size = found.size;
  }

  digest(): string | undefined {
    this.#digest ??= { hex: this.#computeDigest() };
    return this.#digest.hex;
  }

  #computeDigest(): string | undefined {
    const hash = createHash("sha256");
    try {
      this.use((fd) => this.#about(() => readContent(this.#linux, fd, (b) => hash.update(b))));
    } catch (error) {
      if (isErrno(error, "EACCES", "EPERM")) return undefined;
      throw error;
    }
    return hash.digest("hex");
  }

  read(): Uint8Array {
    return this.use((fd) => this.#about(() => readAll(this.#linux, fd, MAX_TEXT)));
  }

  /**
   * Runs `action` with the open file. Throws `EtcChangedError` if it is not as it was found, before or after; other errors
   * name the file if it cannot be opened, those of `action` stay as they are.
   */
  use<T>(action: (fd: Fd) => T): T {
    const linux = this.#linux;
    let fd: Fd;
    try {
      const how = { flags: READ_FILE, resolve: SAFE };
      fd = this.#about(() => linux.openat2(this.#root, toBytes(this.#path), how));
    } catch (error) {
      if (isErrno(error, "ENOENT", "ELOOP", "ENOTDIR", "ENXIO")) throw this.#changed(error);
      throw error;
    }
    try {
      this.#check(fd);
      const result = action(fd);
      this.#check(fd);
      return result;
    } finally {
      linux.close(fd);
    }
  }

  #about<T>(call: () => T): T {
    return naming(fromText(this.#name), call);
  }

  #check(fd: Fd): void {
    const [now, then] = [this.#linux.statx(fd, "", AT_EMPTY_PATH), this.#found];
    const same = (["ino", "devMajor", "devMinor", "size", "mtimeSec", "mtimeNsec"] as const).every(
      (field) => now[field] === then[field],
    );
    if (!same) throw this.#changed();
  }

  #changed(cause?: unknown): EtcChangedError {
    return new EtcChangedError(`${this.#name} changed while it was read`, { cause });
  }
}
