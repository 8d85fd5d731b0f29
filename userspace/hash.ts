/** Hashing by node:crypto. */
import { hash as oneShot } from "node:crypto";
import { readSync } from "node:fs";
import type { HashName } from "../src/formats/digest.ts";
import { fsverityDigest, type HashBytes, VerityDigester } from "../src/formats/fsverity.ts";

/** A multiple of the fs-verity block size. */
const READ_SIZE = 1 << 20;

// the one-shot call is twice as fast on blocks as `createHash`
const plainHash =
  (hash: HashName): HashBytes =>
  (bytes) =>
    oneShot(hash, bytes, "buffer");

/** The plain hash functions, as `VerityDigester` wants them. */
export const hashBytes: Readonly<Record<HashName, HashBytes>> = {
  sha256: plainHash("sha256"),
  sha512: plainHash("sha512"),
};

/** A digester for fs-verity over data that arrives in chunks. */
export function newVerityDigester(hash: HashName): VerityDigester {
  return new VerityDigester(hash, hashBytes[hash]);
}

/** The fs-verity digest of bytes in memory. */
export function digestBytes(hash: HashName, data: Uint8Array): Uint8Array {
  return fsverityDigest(hash, hashBytes[hash], data);
}

/**
 * The fs-verity digest of what `fd` has from its position on, computed here and not by the kernel. Errors are those of
 * `read`.
 */
export function digestFile(hash: HashName, fd: number): Uint8Array {
  const digester = newVerityDigester(hash);
  const buffer = Buffer.allocUnsafe(READ_SIZE);
  for (;;) {
    const count = readSync(fd, buffer);
    if (count === 0) return digester.digest();
    digester.update(buffer.subarray(0, count));
  }
}
