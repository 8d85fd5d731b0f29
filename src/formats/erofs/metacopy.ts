/**
 * The values of overlayfs' xattrs that tell where a file's content is, and what its digest must be: `redirect`, and
 * `metacopy` (Linux fs/overlayfs/overlayfs.h, `struct ovl_metacopy`).
 */
import { type ByteString, fromBytes } from "../bytestring.ts";
import { digestOfObjectPath, hashOfDigest, VERITY_ALGORITHM, writeObjectPath } from "../digest.ts";

/** u8 version, u8 length of it all, u8 flags, u8 algorithm; then the fs-verity digest that the content must have. */
const HEADER_SIZE = 4;
const SLASH = 0x2f;

/** A value that follows from an object's digest. */
export interface ObjectValue {
  /** In bytes. */
  size(digest: Uint8Array): number;
  write(out: Uint8Array, at: number, digest: Uint8Array): void;
}

/** The value that demands a digest. */
export const METACOPY: ObjectValue = {
  size: (digest) => HEADER_SIZE + digest.length,
  write(out, at, digest) {
    const hash = hashOfDigest(digest);
    out[at] = 0;
    out[at + 1] = HEADER_SIZE + digest.length;
    out[at + 2] = 0;
    out[at + 3] = hash === undefined ? 0 : VERITY_ALGORITHM[hash];
    out.set(digest, at + HEADER_SIZE);
  },
};

/** The value that leads to the object of a digest: `/xx/rest`. */
export const OBJECT_REDIRECT: ObjectValue = {
  size: (digest) => 2 + 2 * digest.length,
  write(out, at, digest) {
    out[at] = SLASH;
    writeObjectPath(out, at + 1, digest);
  },
};

/** A value as bytes. */
export function objectValue(value: ObjectValue, digest: Uint8Array): ByteString {
  const out = new Uint8Array(value.size(digest));
  value.write(out, 0, digest);
  return fromBytes(out);
}

/** The digest of the object that a value of `redirect` leads to, if it is just what is written for that object. */
export function digestOfRedirect(redirect: ByteString): Uint8Array | undefined {
  const digest = digestOfObjectPath(redirect);
  if (digest === undefined) return undefined;
  return objectValue(OBJECT_REDIRECT, digest) === redirect ? digest : undefined;
}

/** The digest that a value demands; `undefined` if it is not of this form. */
export function parseMetacopy(value: Uint8Array): Uint8Array | undefined {
  const digest = value.subarray(HEADER_SIZE);
  if (hashOfDigest(digest) === undefined) return undefined;
  return fromBytes(value) === objectValue(METACOPY, digest) ? digest : undefined;
}
