/** Hashing: the blocks of fs-verity by the addon, several at a time; anything else by node:crypto. */
import { hash as oneShot } from "node:crypto";
import { readSync } from "node:fs";
import { constants } from "node:os";
import { type HashName, VERITY_ALGORITHM } from "../src/formats/digest.ts";
import {
  blockByBlock,
  fsverityDigest,
  type HashBlocks,
  type HashBytes,
  VerityDigester,
} from "../src/formats/fsverity.ts";
import { loadAddon, type NativeHashing } from "./addon.ts";

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

/** The addon's hashing; without it everything is only slower. */
function loadHashing(): NativeHashing | undefined {
  try {
    const { verity_hash_blocks, verity_kernel } = loadAddon();
    return verity_hash_blocks && verity_kernel && { verity_hash_blocks, verity_kernel };
  } catch {
    return undefined;
  }
}

const native = loadHashing();

function nativeBlocks(calls: NativeHashing, hash: HashName, kernel: number): HashBlocks {
  const algorithm = VERITY_ALGORITHM[hash];
  return (first, rest, hashes) => {
    const result = calls.verity_hash_blocks(algorithm, kernel, first, rest, hashes);
    if (result < 0) throw new Error(`hash blocks of ${first.length} and ${rest.length} bytes`);
  };
}

const fastest = (hash: HashName): HashBlocks =>
  native === undefined ? blockByBlock(hash, hashBytes[hash]) : nativeBlocks(native, hash, -1);

/** The fastest ways to hash blocks, as `VerityDigester` wants them. */
export const hashBlocks: Readonly<Record<HashName, HashBlocks>> = {
  sha256: fastest("sha256"),
  sha512: fastest("sha512"),
};

/** Every way that this processor has in the addon, by name, from which `hashBlocks` chooses. */
export function blockKernels(hash: HashName): Map<string, HashBlocks> {
  const kernels = new Map<string, HashBlocks>();
  const name = Buffer.alloc(32);
  for (let index = 0; native !== undefined; index++) {
    const length = native.verity_kernel(VERITY_ALGORITHM[hash], index, name);
    if (length >= 0)
      kernels.set(name.toString("latin1", 0, length), nativeBlocks(native, hash, index));
    else if (length === -constants.errno.ENOENT) break;
  }
  return kernels;
}

/** A digester for fs-verity over data that arrives in chunks. */
export function newVerityDigester(hash: HashName): VerityDigester {
  return new VerityDigester(hash, hashBytes[hash], { hashBlocks: hashBlocks[hash] });
}

/** The fs-verity digest of bytes in memory. */
export function digestBytes(hash: HashName, data: Uint8Array): Uint8Array {
  return fsverityDigest(hash, hashBytes[hash], data, hashBlocks[hash]);
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
