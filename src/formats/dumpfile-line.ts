/**
 * The lines of a dump file (composefs-dump(5)) where they are, in its bytes. Most of a line is numbers, digests, and a
 * path that begins as the one before it: making text of all that would be most of the work of reading it.
 */
import { type ByteString, fromBytes } from "./bytestring.ts";
import { fromHexDigits } from "./digest.ts";

const NEWLINE = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const BLANK = 0x20;
const DASH = 0x2d;
const DOT = 0x2e;
const ZERO = 0x30;
/** Numbers of so many digits are exact, decimal or octal. */
const MAX_DIGITS = 15;

/** The line that is read. Fields are numbered from 0, and divided by single blanks. */
export class DumpLine {
  readonly bytes: Uint8Array;
  /** Of the line, from 1. */
  number = 0;
  /** How many fields it has. */
  fields = 0;
  readonly #dropCarriageReturn: boolean;
  /** Where each field begins; the next one's tells where it ends. */
  readonly #starts: number[] = [];
  #next = 0;

  constructor(bytes: Uint8Array, options: { readonly dropCarriageReturn: boolean }) {
    this.bytes = bytes;
    this.#dropCarriageReturn = options.dropCarriageReturn;
  }

  /** Goes to the next line; `false` if there is none. */
  next(): boolean {
    const bytes = this.bytes;
    const starts = this.#starts;
    const start = this.#next;
    if (start >= bytes.length) return false;
    let count = 0;
    starts[count++] = start;
    let end = start;
    for (; end < bytes.length; end++) {
      const byte = bytes[end];
      if (byte === BLANK) starts[count++] = end + 1;
      else if (byte === NEWLINE) break;
    }
    this.#next = end + 1;
    if (this.#dropCarriageReturn && end > start && bytes[end - 1] === CARRIAGE_RETURN) end--;
    starts[count] = end + 1;
    this.fields = count;
    this.number++;
    return true;
  }

  /** The whole line. */
  line(): ByteString {
    return fromBytes(this.bytes, this.start(0), this.end(this.fields));
  }

  /** Offset of a field, or of the line's end if there is no such field: what is not there reads as empty. */
  start(field: number): number {
    return field < this.fields ? this.#starts[field]! : this.end(field);
  }

  /** Offset behind a field. */
  end(field: number): number {
    return this.#starts[field < this.fields ? field + 1 : this.fields]! - 1;
  }

  /** A field as it is. */
  text(field: number): ByteString {
    return fromBytes(this.bytes, this.start(field), this.end(field));
  }

  /** Whether a field is `-`. */
  isDash(field: number): boolean {
    const start = this.start(field);
    return this.end(field) === start + 1 && this.bytes[start] === DASH;
  }

  /** A field that is a plain number of few digits, as most are; -1 for any other. */
  digits(field: number, radix: 8 | 10 = 10): number {
    return this.#digits(this.start(field), this.end(field), radix);
  }

  /** A field that is two plain numbers with a dot between, the second one less than 10⁹; `undefined` for any other. */
  time(field: number): [seconds: bigint, nanoseconds: number] | undefined {
    const end = this.end(field);
    let dot = this.start(field);
    while (dot < end && this.bytes[dot] !== DOT) dot++;
    const seconds = this.#digits(this.start(field), dot, 10);
    const nanoseconds = this.#digits(dot + 1, end, 10);
    if (seconds < 0 || nanoseconds < 0 || nanoseconds >= 1e9) return undefined;
    return [BigInt(seconds), nanoseconds];
  }

  /** A field's hex digits as bytes; `undefined` if it has anything else. */
  hex(field: number): Uint8Array | undefined {
    return fromHexDigits(this.bytes, this.start(field), this.end(field));
  }

  #digits(start: number, end: number, radix: 8 | 10): number {
    if (start >= end || end - start > MAX_DIGITS) return -1;
    let value = 0;
    for (let at = start; at < end; at++) {
      const digit = this.bytes[at]! - ZERO;
      if (digit < 0 || digit >= radix) return -1;
      value = value * radix + digit;
    }
    return value;
  }
}
