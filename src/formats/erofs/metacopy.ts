/**
 * The values of overlayfs' xattrs that tell where a file's content is, and what its digest must be: `redirect`, and
 * `metacopy` (Linux fs/overlayfs/overlayfs.h, `struct ovl_metacopy`).
 */
import { type ByteString, fromBytes } from "../bytestring.ts";
import { hashOfDigest, objectPath, toHex, VERITY_ALGORITHM } from "../digest.ts";

/** u8 version, u8 length of it all, u8 flags, u8 algorithm; then the fs-verity digest that the content must have. */
const HEADER_SIZE = 4;

/** The value that demands a digest. */
export function metacopy(digest: Uint8Array): ByteString {
  const value = new Uint8Array(HEADER_SIZE + digest.length);
  const hash = hashOfDigest(digest);
  value[1] = value.length;
  value[3] = hash === undefined ? 0 : VERITY_ALGORITHM[hash];
  value.set(digest, HEADER_SIZE);
  return fromBytes(value);
}

/** The value that leads to the object of a digest. */
export function objectRedirect(digest: Uint8Array): ByteString {
  return `/${objectPath(toHex(digest))}` as ByteString;
}

/** The digest that a value demands; `undefined` if it is not of this form. */
export function parseMetacopy(value: Uint8Array): Uint8Array | undefined {
  const digest = value.subarray(HEADER_SIZE);
  if (hashOfDigest(digest) === undefined) return undefined;
  return fromBytes(value) === metacopy(digest) ? digest : undefined;
}
