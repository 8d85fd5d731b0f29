/**
 * Lists cpio archives of the "new ASCII" form with or without checksums, as an initramfs is made of them: any number of
 * archives, with zeros between them. What the kernel would not unpack is an error.
 *
 * Specification: Documentation/driver-api/early-userspace/buffer-format.rst of the kernel, and init/initramfs.c for what it
 * leaves open.
 */
import { type ByteString, display, fromBytes } from "./bytestring.ts";

/** Fields of a header, 8 hexadecimal digits each, in their order after the magic. */
const FIELDS = [
  "ino",
  "mode",
  "uid",
  "gid",
  "nlink",
  "mtime",
  "filesize",
  "devmajor",
  "devminor",
  "rdevmajor",
  "rdevminor",
  "namesize",
  "check",
] as const;
const MAGIC = /^07070[12]$/;
const MAGIC_SIZE = 6;
const FIELD_SIZE = 8;
const HEADER_SIZE = MAGIC_SIZE + FIELDS.length * FIELD_SIZE;
const HEX = /^[0-9a-fA-F]{8}$/;
const ALIGNMENT = 4;
const TRAILER = "TRAILER!!!";
/** Linux's `PATH_MAX`, for names and symlink targets. */
const MAX_PATH = 4096;

const S_IFMT = 0o170000;
const S_IFLNK = 0o120000;

export interface CpioEntry {
  /** Offset of its header, in bytes from the start of what archives are in. */
  readonly offset: number;
  /** As in the archive: relative or absolute, perhaps with `./`. */
  readonly name: ByteString;
  /** Type and permissions, as `st_mode`. */
  readonly mode: number;
  /** Of its data. Of the names of a file, only the last one has the data. */
  readonly size: number;
  /** Of a symlink. */
  readonly target: ByteString | undefined;
}

type State =
  /** Between archives: zeros, or the first header. */
  | "start"
  | "header"
  | "name"
  | "target"
  /** The data of a file, or what a name is padded with. */
  | "skip";

/** Finds the entries of data that comes in pieces. */
export class CpioScanner {
  readonly #onEntry: (entry: CpioEntry) => void;
  #state: State = "start";
  /** Where what comes next is. */
  #offset: number;
  /** The header, name or target that is being collected. */
  readonly #part = new Uint8Array(MAX_PATH + ALIGNMENT);
  #have = 0;
  #want = HEADER_SIZE;
  #after: State = "start";
  #entry: { offset: number; mode: number; size: number; nameSize: number } = NO_ENTRY;
  #name = "" as ByteString;
  #seen = false;

  /** `offset`: where the data begins in the whole of it, in bytes; headers are aligned in that. */
  constructor(onEntry: (entry: CpioEntry) => void, offset = 0) {
    this.#onEntry = onEntry;
    this.#offset = offset;
  }

  /**
   * Takes the next piece. Returns how much of it was taken: less than all if something else follows the archives there.
   * Throws, naming an offset, where an archive is damaged.
   */
  push(data: Uint8Array): number {
    let at = 0;
    while (at < data.length) {
      if (this.#state === "start") {
        while (at < data.length && data[at] === 0) {
          at++;
          this.#offset++;
        }
        if (at === data.length) break;
        if (data[at] !== 0x30 || this.#offset % ALIGNMENT !== 0) return at;
        this.#seen = true;
        this.#expect("header", HEADER_SIZE);
      }
      const taken = Math.min(this.#want - this.#have, data.length - at);
      if (this.#state !== "skip") this.#part.set(data.subarray(at, at + taken), this.#have);
      at += taken;
      this.#have += taken;
      this.#offset += taken;
      if (this.#have === this.#want) this.#finish();
    }
    return at;
  }

  /** Whether there was an archive. */
  get seen(): boolean {
    return this.#seen;
  }

  /** Throws if the data ended within an archive. */
  end(): void {
    if (this.#state === "start") return;
    if (this.#state === "header" && this.#have === 0) {
      throw this.#error(this.#offset, `the archive ends without ${TRAILER}`);
    }
    throw this.#error(this.#offset, "the archive is cut off");
  }

  #expect(state: State, want: number): void {
    this.#state = state;
    this.#have = 0;
    this.#want = want;
  }

  /** Skips so many bytes, and the padding after them. */
  #skip(size: number, after: State): void {
    const whole = size + (-(this.#offset + size) & (ALIGNMENT - 1));
    this.#after = after;
    if (whole > 0) this.#expect("skip", whole);
    else this.#expect(after, HEADER_SIZE);
  }

  #finish(): void {
    switch (this.#state) {
      case "header":
        this.#readHeader();
        break;
      case "name":
        this.#readName();
        break;
      case "target":
        this.#emit(fromBytes(this.#part, 0, this.#entry.size));
        this.#expect("header", HEADER_SIZE);
        break;
      default:
        this.#expect(this.#after, HEADER_SIZE);
    }
  }

  #readHeader(): void {
    const offset = this.#offset - HEADER_SIZE;
    const text = fromBytes(this.#part, 0, HEADER_SIZE);
    if (!MAGIC.test(text.slice(0, MAGIC_SIZE))) {
      const found = display(text.slice(0, MAGIC_SIZE) as ByteString);
      throw this.#error(offset, `magic "${found}", expected 070701 or 070702`);
    }
    const field = (name: (typeof FIELDS)[number]): number => {
      const from = MAGIC_SIZE + FIELDS.indexOf(name) * FIELD_SIZE;
      const digits = text.slice(from, from + FIELD_SIZE);
      if (HEX.test(digits)) return Number.parseInt(digits, 16);
      const found = display(digits as ByteString);
      throw this.#error(offset, `${name} is "${found}", expected 8 hexadecimal digits`);
    };
    const mode = field("mode");
    const size = field("filesize");
    const nameSize = field("namesize");
    if (nameSize < 1 || nameSize > MAX_PATH) {
      throw this.#error(offset, `a name of ${nameSize} bytes, expected 1 to ${MAX_PATH}`);
    }
    if ((mode & S_IFMT) === S_IFLNK && size > MAX_PATH) {
      throw this.#error(offset, `a symlink of ${size} bytes, expected at most ${MAX_PATH}`);
    }
    this.#entry = { offset, mode, size, nameSize };
    // the header has an odd size, so that the padding is the name's
    this.#expect("name", nameSize + (-(this.#offset + nameSize) & (ALIGNMENT - 1)));
  }

  #readName(): void {
    const { offset, mode, size, nameSize } = this.#entry;
    if (this.#part[nameSize - 1] !== 0) {
      throw this.#error(offset, "a name without a zero at its end");
    }
    // some writers pad names so that the data is aligned
    this.#name = fromBytes(this.#part, 0, this.#part.indexOf(0));
    const isSymlink = (mode & S_IFMT) === S_IFLNK;
    if (this.#name === TRAILER) {
      this.#skip(size, "start");
    } else if (isSymlink && size > 0) {
      this.#expect("target", size + (-(this.#offset + size) & (ALIGNMENT - 1)));
    } else {
      this.#emit(isSymlink ? ("" as ByteString) : undefined);
      this.#skip(size, "header");
    }
  }

  #emit(target: ByteString | undefined): void {
    const { offset, mode, size } = this.#entry;
    this.#onEntry({ offset, name: this.#name, mode, size, target });
  }

  #error(offset: number, why: string): Error {
    return new Error(`cpio offset ${offset}: ${why}`);
  }
}

const NO_ENTRY = { offset: 0, mode: 0, size: 0, nameSize: 0 };
