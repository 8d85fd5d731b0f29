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

/**
 * Writes the plain hashes of whole blocks, those of `first` and then those of `rest`, one after the other to `hashes`.
 * Whoever can hash several blocks at once gets as many as there are.
 */
export type HashBlocks = (first: Uint8Array, rest: Uint8Array, hashes: Uint8Array) => void;

/** Hashes blocks one by one; blocks of zeros, which files with holes are made of, only once. */
export function blockByBlock(hash: HashName, hashBytes: HashBytes): HashBlocks {
  const size = DIGEST_SIZE[hash];
  let zeroHash: Uint8Array | undefined;
  const hashBlock = (block: Uint8Array) => {
    if (!isZero(block)) return hashBytes(block);
    zeroHash ??= hashBytes(block).slice();
    return zeroHash;
  };
  return (first, rest, hashes) => {
    let at = 0;
    for (const blocks of [first, rest]) {
      for (const block of eachBlock(blocks)) {
        hashes.set(hashBlock(block), at);
        at += size;
      }
    }
  };
}

function isZero(block: Uint8Array): boolean {
  for (let i = 0; i < block.length; i++) if (block[i] !== 0) return false;
  return true;
}

function* eachBlock(blocks: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < blocks.length; at += VERITY_BLOCK_SIZE) {
    yield blocks.subarray(at, at + VERITY_BLOCK_SIZE);
  }
}

/** A level of the tree: its last block so far. */
interface Level {
  readonly block: Uint8Array;
  used: number;
  /** Whether a full block of this level went up already. */
  overflowed: boolean;
}

const NO_BLOCKS = new Uint8Array(0);

/** Computes the digest of data that arrives in chunks of any size. Holds a block for every level of the tree. */
export class VerityDigester {
  readonly #hash: HashName;
  readonly #hashBytes: HashBytes;
  readonly #hashBlocks: HashBlocks;
  readonly #onBlock: ((level: number, block: Uint8Array) => void) | undefined;
  /** Level 0 is the data. */
  readonly #levels: Level[] = [newLevel()];
  #size = 0;

  /**
   * `onBlock` is given every block of hashes, padded, with its level (1 is just above the data), as it is completed.
   * Without `hashBlocks`, blocks are hashed one by one by `hashBytes`.
   */
  constructor(
    hash: HashName,
    hashBytes: HashBytes,
    options: {
      readonly onBlock?: (level: number, block: Uint8Array) => void;
      readonly hashBlocks?: HashBlocks;
    } = {},
  ) {
    this.#hash = hash;
    this.#hashBytes = hashBytes;
    this.#hashBlocks = options.hashBlocks ?? blockByBlock(hash, hashBytes);
    this.#onBlock = options.onBlock;
  }

  /** Bytes so far. */
  get size(): number {
    return this.#size;
  }

  /** Appends data; the buffer may be reused afterwards. */
  update(chunk: Uint8Array): void {
    this.#size += chunk.length;
    this.#append(0, chunk);
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
      block.fill(0, used);
      this.#hashUp(level, block, NO_BLOCKS);
    }
  }

  /** Adds bytes to a level. A full block goes up only when more follows: the last one is padded and hashed at the end. */
  #append(level: number, bytes: Uint8Array): void {
    this.#levels[level] ??= newLevel();
    const target = this.#levels[level];
    const room = VERITY_BLOCK_SIZE - target.used;
    if (bytes.length <= room) {
      target.block.set(bytes, target.used);
      target.used += bytes.length;
      return;
    }
    const start = target.used > 0 ? room : 0;
    target.block.set(bytes.subarray(0, start), target.used);
    const last = bytes.length - 1 - ((bytes.length - 1 - start) % VERITY_BLOCK_SIZE);
    const held = target.used > 0 ? target.block : NO_BLOCKS;
    this.#hashUp(level, held, bytes.subarray(start, last));
    target.overflowed = true;
    target.block.set(bytes.subarray(last));
    target.used = bytes.length - last;
  }

  /** Adds the hashes of blocks of a level to the level above it. */
  #hashUp(level: number, first: Uint8Array, rest: Uint8Array): void {
    if (level > 0 && this.#onBlock !== undefined) {
      for (const block of eachBlock(first)) this.#onBlock(level, block);
      for (const block of eachBlock(rest)) this.#onBlock(level, block);
    }
    const count = (first.length + rest.length) / VERITY_BLOCK_SIZE;
    const hashes = new Uint8Array(count * DIGEST_SIZE[this.#hash]);
    this.#hashBlocks(first, rest, hashes);
    this.#append(level + 1, hashes);
  }
}

function newLevel(): Level {
  return { block: new Uint8Array(VERITY_BLOCK_SIZE), used: 0, overflowed: false };
}

/** The fs-verity digest of data that is in memory. */
export function fsverityDigest(
  hash: HashName,
  hashBytes: HashBytes,
  data: Uint8Array,
  hashBlocks?: HashBlocks,
): Uint8Array {
  const options = hashBlocks === undefined ? {} : { hashBlocks };
  const digester = new VerityDigester(hash, hashBytes, options);
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
  const onBlock = (level: number, block: Uint8Array) => {
    levels[level - 1] ??= [];
    levels[level - 1]!.push(block.slice());
  };
  const digester = new VerityDigester(hash, hashBytes, { onBlock });
  for (const chunk of chunks) digester.update(chunk);
  const descriptor = digester.descriptor();
  const blocks = levels.reverse().flat();
  const tree = new Uint8Array(blocks.length * VERITY_BLOCK_SIZE);
  for (const [i, block] of blocks.entries()) tree.set(block, i * VERITY_BLOCK_SIZE);
  return { tree, descriptor, digest: hashBytes(descriptor) };
}
