/**
 * fs-verity digests (Linux Documentation/filesystems/fsverity.rst): blocks of 4096 bytes, no salt, no signature.
 *
 * The hash itself comes from outside, so that this runs on any engine.
 */
import { DIGEST_SIZE, type HashName, VERITY_ALGORITHM } from "./digest.ts";

export const VERITY_BLOCK_SIZE = 4096;

const LG_BLOCK_SIZE = 12;
const DESCRIPTOR_SIZE = 256;

/** Offsets in `struct fsverity_descriptor`; salt and signature are zero. */
const DESCRIPTOR = { version: 0, algorithm: 1, lgBlockSize: 2, dataSize: 8, root: 16 } as const;

/** The plain hash of bytes. The result must stay valid after the next call; the argument need not. */
export type HashBytes = (bytes: Uint8Array) => Uint8Array;

/** A level of the tree: the block that its hashes fill. */
interface Level {
  readonly block: Uint8Array;
  used: number;
  /** Whether a full block of this level went up already. */
  overflowed: boolean;
}

/** Computes the digest of data that arrives in chunks of any size. Holds a block for every level of the tree. */
export class VerityDigester {
  readonly #hash: HashName;
  readonly #hashBytes: HashBytes;
  /** Level 0 is the data. */
  readonly #levels: Level[] = [newLevel()];
  readonly #onBlock: ((level: number, block: Uint8Array) => void) | undefined;
  #size = 0;
  #zeroHash: Uint8Array | undefined;

  /** `onBlock` is given every block of hashes, padded, with its level (1 is just above the data), as it is completed. */
  constructor(
    hash: HashName,
    hashBytes: HashBytes,
    onBlock?: (level: number, block: Uint8Array) => void,
  ) {
    this.#hash = hash;
    this.#hashBytes = hashBytes;
    this.#onBlock = onBlock;
  }

  /** Bytes so far. */
  get size(): number {
    return this.#size;
  }

  /** Appends data; the buffer may be reused afterwards. */
  update(chunk: Uint8Array): void {
    this.#size += chunk.length;
    const data = this.#levels[0]!;
    let at = 0;
    // A full block goes up only when more follows: the last one is padded and hashed at the end, full or not.
    while (at < chunk.length) {
      if (data.used === VERITY_BLOCK_SIZE) this.#flush(0);
      if (data.used === 0 && chunk.length - at > VERITY_BLOCK_SIZE) {
        this.#push(1, this.#hashBlock(chunk.subarray(at, at + VERITY_BLOCK_SIZE)));
        data.overflowed = true;
        at += VERITY_BLOCK_SIZE;
        continue;
      }
      const count = Math.min(VERITY_BLOCK_SIZE - data.used, chunk.length - at);
      data.block.set(chunk.subarray(at, at + count), data.used);
      data.used += count;
      at += count;
    }
  }

  /** The digest of all data. Ends the digester. */
  digest(): Uint8Array {
    return this.#hashBytes(this.descriptor());
  }

  /** The 256 bytes of `struct fsverity_descriptor`, whose hash is the digest. Ends the digester. */
  descriptor(): Uint8Array {
    const descriptor = new Uint8Array(DESCRIPTOR_SIZE);
    const view = new DataView(descriptor.buffer);
    descriptor[DESCRIPTOR.version] = 1;
    descriptor[DESCRIPTOR.algorithm] = VERITY_ALGORITHM[this.#hash];
    descriptor[DESCRIPTOR.lgBlockSize] = LG_BLOCK_SIZE;
    view.setBigUint64(DESCRIPTOR.dataSize, BigInt(this.#size), true);
    if (this.#size > 0) descriptor.set(this.#root(), DESCRIPTOR.root);
    return descriptor;
  }

  #root(): Uint8Array {
    for (let level = 0; ; level++) {
      const { block, used, overflowed } = this.#levels[level]!;
      // one hash with nothing beside it is the root; it is not hashed again
      if (level > 0 && !overflowed && used === DIGEST_SIZE[this.#hash]) {
        return block.slice(0, used);
      }
      this.#flush(level);
    }
  }

  #push(level: number, hash: Uint8Array): void {
    let target = this.#levels[level];
    if (target === undefined) {
      target = newLevel();
      this.#levels.push(target);
    }
    if (target.used === VERITY_BLOCK_SIZE) this.#flush(level);
    target.block.set(hash, target.used);
    target.used += hash.length;
  }

  /** Sends the block of a level, zero-padded, one level up. */
  #flush(level: number): void {
    const source = this.#levels[level]!;
    source.block.fill(0, source.used);
    if (level > 0) this.#onBlock?.(level, source.block);
    this.#push(level + 1, this.#hashBlock(source.block));
    source.used = 0;
    source.overflowed = true;
  }

  #hashBlock(block: Uint8Array): Uint8Array {
    if (!isZero(block)) return this.#hashBytes(block);
    this.#zeroHash ??= this.#hashBytes(new Uint8Array(VERITY_BLOCK_SIZE));
    return this.#zeroHash;
  }
}

function newLevel(): Level {
  return { block: new Uint8Array(VERITY_BLOCK_SIZE), used: 0, overflowed: false };
}

function isZero(block: Uint8Array): boolean {
  for (let i = 0; i < block.length; i++) if (block[i] !== 0) return false;
  return true;
}

/** The fs-verity digest of data that is in memory. */
export function fsverityDigest(hash: HashName, hashBytes: HashBytes, data: Uint8Array): Uint8Array {
  const digester = new VerityDigester(hash, hashBytes);
  digester.update(data);
  return digester.digest();
}

/** What a file system stores beside a file that has fs-verity. */
export interface VerityMetadata {
  /** The Merkle tree, its top level first, each level in whole blocks. Empty for at most one block of data. */
  readonly tree: Uint8Array;
  /** `struct fsverity_descriptor`, 256 bytes. */
  readonly descriptor: Uint8Array;
  readonly digest: Uint8Array;
}

/** Computes what `FS_IOC_ENABLE_VERITY` would store, for who writes a file system without mounting it. */
export function verityMetadata(
  hash: HashName,
  hashBytes: HashBytes,
  chunks: Iterable<Uint8Array>,
): VerityMetadata {
  const levels: Uint8Array[][] = [];
  const digester = new VerityDigester(hash, hashBytes, (level, block) => {
    levels[level - 1] ??= [];
    levels[level - 1]!.push(block.slice());
  });
  for (const chunk of chunks) digester.update(chunk);
  const descriptor = digester.descriptor();
  const blocks = levels.reverse().flat();
  const tree = new Uint8Array(blocks.length * VERITY_BLOCK_SIZE);
  for (const [i, block] of blocks.entries()) tree.set(block, i * VERITY_BLOCK_SIZE);
  return { tree, descriptor, digest: hashBytes(descriptor) };
}
