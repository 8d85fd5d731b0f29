/**
 * tar-split: what remains of a tar archive when the contents of its files are kept elsewhere, so that it can be put
 * together again bit for bit (github.com/vbatts/tar-split, package storage). Containers' storage keeps one for each layer.
 *
 * One JSON object a line, in the order of the archive:
 *
 *   {"type":2,"payload":"<base64>","position":0}                     bytes of the archive: headers, padding, its end
 *   {"type":1,"name":"etc/passwd","size":9,"payload":"<base64>"}     the content of a file, and its CRC-64
 *
 * A name that is not UTF-8 is `name_raw`, in base64. What has no content (directories, links) has an entry of size 0.
 */
import { decodeBase64 } from "./base64.ts";
import { type ByteString, fromBytes, fromText, toText } from "./bytestring.ts";
import { JsonObject } from "./json-document.ts";

export type TarSplitEntry =
  | { readonly type: "segment"; readonly bytes: Uint8Array }
  | {
      readonly type: "file";
      /** As in the archive: absolute or not, perhaps with `./`, or a slash at its end. Never empty, without NUL. */
      readonly name: ByteString;
      /** In bytes. */
      readonly size: number;
      /** Of the content (see `Crc64`). A file without content need not have one. */
      readonly crc64: bigint | undefined;
    };

const FILE = 1;
const SEGMENT = 2;
const CRC64_SIZE = 8;
const NEWLINE = 0x0a;

/** Longest line in bytes. What lies between two files' contents is on one, all padding at the end of an archive, too. */
export const MAX_TAR_SPLIT_LINE = 8 << 20;

/**
 * Push the lines in pieces of any size, then call `end`; each returns the entries that have become complete.
 *
 * Both throw, naming the line, for what is not tar-split.
 */
export class TarSplitReader {
  #pending: Uint8Array[] = [];
  #pendingSize = 0;
  #line = 0;

  /** The next bytes. They may be held until the line is complete. */
  push(chunk: Uint8Array): TarSplitEntry[] {
    const entries: TarSplitEntry[] = [];
    let start = 0;
    for (;;) {
      const end = chunk.indexOf(NEWLINE, start);
      this.#hold(chunk.subarray(start, end < 0 ? undefined : end));
      if (end < 0) return entries;
      entries.push(this.#parse());
      start = end + 1;
    }
  }

  /** There is no more. A last line need not be ended. */
  end(): TarSplitEntry[] {
    return this.#pendingSize === 0 ? [] : [this.#parse()];
  }

  #hold(bytes: Uint8Array): void {
    this.#pendingSize += bytes.length;
    if (this.#pendingSize > MAX_TAR_SPLIT_LINE) {
      throw new Error(`line ${this.#line + 1}: expected at most ${MAX_TAR_SPLIT_LINE} bytes`);
    }
    if (bytes.length > 0) this.#pending.push(bytes);
  }

  #parse(): TarSplitEntry {
    const name = `line ${++this.#line}`;
    const line = joined(this.#pending, this.#pendingSize);
    this.#pending = [];
    this.#pendingSize = 0;
    const object = parseLine(line, name);
    const type = object.size("type");
    if (type === SEGMENT) return { type: "segment", bytes: bytesOf(object, "payload") };
    if (type === FILE) return fileOf(object);
    return object.fail("type", `expected ${FILE} or ${SEGMENT}, found ${type}`);
  }
}

function joined(pieces: readonly Uint8Array[], size: number): Uint8Array {
  if (pieces.length === 1) return pieces[0]!;
  const out = new Uint8Array(size);
  let at = 0;
  for (const piece of pieces) {
    out.set(piece, at);
    at += piece.length;
  }
  return out;
}

/** Most lines are long and of ASCII: those need no decoding. */
function parseLine(line: Uint8Array, name: string): JsonObject {
  const bytes = fromBytes(line);
  const text = /[\x80-\xff]/.test(bytes) ? toText(bytes) : bytes;
  if (text === undefined) throw new Error(`${name}: expected JSON in UTF-8`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Error(`${name}: expected JSON`, { cause: error });
  }
  return new JsonObject(value, name, "");
}

function fileOf(object: JsonObject): TarSplitEntry {
  const size = object.has("size") ? object.size("size") : 0;
  const name = nameOf(object);
  const checksum = bytesOf(object, "payload");
  if (checksum.length !== CRC64_SIZE && (size > 0 || checksum.length > 0)) {
    object.fail("payload", `expected a CRC-64 of ${CRC64_SIZE} bytes, found ${checksum.length}`);
  }
  return { type: "file", name, size, crc64: checksum.length === 0 ? undefined : number(checksum) };
}

function nameOf(object: JsonObject): ByteString {
  const raw = object.has("name_raw");
  if (raw && object.has("name")) object.fail("name", "expected one name, found name_raw as well");
  const key = raw ? "name_raw" : "name";
  const name = raw ? fromBytes(bytesOf(object, key)) : fromText(object.string(key));
  if (name === "") object.fail(key, "expected a name, it is empty");
  if (name.includes("\0")) object.fail(key, "expected a name without NUL");
  return name;
}

/** Empty if the field is absent or `null`. */
function bytesOf(object: JsonObject, key: string): Uint8Array {
  return decodeBase64(object.optionalString(key) ?? "") ?? object.fail(key, "expected base64");
}

function number(bytes: Uint8Array): bigint {
  return bytes.reduce((value, byte) => (value << 8n) | BigInt(byte), 0n);
}
