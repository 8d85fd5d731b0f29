/** fs-verity digest algorithms and digests as hex, the way composefs names them. */

import { fromBytes } from "./bytestring.ts";

/** The hash of a repository, an image or a digest. Blocks are always 4096 bytes, without salt. */
export type HashName = "sha256" | "sha512";

/** Digest size in bytes. */
export const DIGEST_SIZE: Readonly<Record<HashName, number>> = { sha256: 32, sha512: 64 };

/** The number that the kernel's fs-verity interface gives a hash (`FS_VERITY_HASH_ALG_*`). */
export const VERITY_ALGORITHM: Readonly<Record<HashName, number>> = { sha256: 1, sha512: 2 };

const HEX = "0123456789abcdef";
/** Their character codes. */
const DIGITS = Uint8Array.from(HEX, (digit) => digit.charCodeAt(0));

const SLASH = 0x2f;
const NO_DIGIT = 0xff;
/** By character code. */
const VALUE_OF_DIGIT = new Uint8Array(128).fill(NO_DIGIT);
for (let value = 0; value < 16; value++) {
  VALUE_OF_DIGIT[HEX.charCodeAt(value)] = value;
  VALUE_OF_DIGIT[HEX.toUpperCase().charCodeAt(value)] = value;
}

/** Lower-case hex of bytes. */
export function toHex(bytes: Uint8Array): string {
  const digits = new Uint8Array(2 * bytes.length);
  for (let i = 0; i < bytes.length; i++) writeHex(digits, 2 * i, bytes[i]!);
  return fromBytes(digits);
}

/** Writes the two digits of a byte. */
function writeHex(out: Uint8Array, at: number, byte: number): void {
  out[at] = DIGITS[byte >> 4]!;
  out[at + 1] = DIGITS[byte & 15]!;
}

/** Bytes of a hex string in either case; `undefined` if it is not hex of even length. */
export function fromHex(hex: string): Uint8Array | undefined {
  if (hex.length % 2 !== 0) return undefined;
  const out = new Uint8Array(hex.length / 2);
  for (let i = 0; i < out.length; i++) {
    const high = VALUE_OF_DIGIT[hex.charCodeAt(2 * i)] ?? NO_DIGIT;
    const low = VALUE_OF_DIGIT[hex.charCodeAt(2 * i + 1)] ?? NO_DIGIT;
    if (high === NO_DIGIT || low === NO_DIGIT) return undefined;
    out[i] = high * 16 + low;
  }
  return out;
}

/** Bytes of the hex digits, in either case, from `start` to `end`; `undefined` if it is not hex of even length. */
export function fromHexDigits(
  digits: Uint8Array,
  start: number,
  end: number,
): Uint8Array | undefined {
  if ((end - start) % 2 !== 0) return undefined;
  const out = new Uint8Array((end - start) / 2);
  for (let i = 0; i < out.length; i++) {
    const high = VALUE_OF_DIGIT[digits[start + 2 * i]!] ?? NO_DIGIT;
    const low = VALUE_OF_DIGIT[digits[start + 2 * i + 1]!] ?? NO_DIGIT;
    if (high === NO_DIGIT || low === NO_DIGIT) return undefined;
    out[i] = high * 16 + low;
  }
  return out;
}

/** The hash whose digests have this many hex digits; `undefined` if none has. */
export function hashOfHexLength(digits: number): HashName | undefined {
  return digits === 64 ? "sha256" : digits === 128 ? "sha512" : undefined;
}

/** The hash whose digests have this length; `undefined` if none has. */
export function hashOfDigest(digest: Uint8Array): HashName | undefined {
  return hashOfHexLength(2 * digest.length);
}

/** Path of an object below a repository's `objects/`: `xx/rest`. */
export function objectPath(hex: string): string {
  return `${hex.slice(0, 2)}/${hex.slice(2)}`;
}

/** Writes the path that `objectPath` gives for a digest. */
export function writeObjectPath(out: Uint8Array, at: number, digest: Uint8Array): void {
  writeHex(out, at, digest[0]!);
  out[at + 2] = SLASH;
  for (let i = 1; i < digest.length; i++) writeHex(out, at + 1 + 2 * i, digest[i]!);
}

/** Whether two digests are the same. */
export function sameDigest(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

/** The digest of the object that a path ends in, `xx/rest`; `undefined` if it ends in none of these hashes. */
export function digestOfObjectPath(
  path: string,
  hashes: readonly HashName[] = ["sha512", "sha256"],
): Uint8Array | undefined {
  for (const hash of hashes) {
    const tail = path.slice(-(2 * DIGEST_SIZE[hash] + 1));
    const digest = tail[2] === "/" ? fromHex(tail.slice(0, 2) + tail.slice(3)) : undefined;
    if (digest?.length === DIGEST_SIZE[hash]) return digest;
  }
  return undefined;
}
