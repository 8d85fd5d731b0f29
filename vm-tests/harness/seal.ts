/**
 * ext4 files with fs-verity, made without the kernel's help.
 *
 * ext4 keeps the metadata behind the end of the file (Linux Documentation/filesystems/ext4/verity.rst): from the next
 * multiple of 64 KiB the Merkle tree, then the descriptor, and in the last four bytes of the descriptor's last block its
 * size. A file written so becomes a verity file when its inode says the real size and has the flag: `debugfs` does that.
 */
import { closeSync, ftruncateSync, openSync, readSync, writeSync } from "node:fs";
import type { HashName } from "../../src/formats/digest.ts";
import { verityMetadata } from "../../src/formats/fsverity.ts";
import { hashBytes } from "../../userspace/hash.ts";

const METADATA_ALIGNMENT = 65536;
const BLOCK = 4096;
const CHUNK = 1 << 20;

/** `EXT4_VERITY_FL | EXT4_EXTENTS_FL` */
export const VERITY_INODE_FLAGS = 0x180000;

export interface SealedFile {
  /** The size that the inode must get; the file as written is longer. */
  readonly size: number;
  readonly digest: Uint8Array;
}

/** Copies a file, with its fs-verity metadata behind the data. */
export function sealFile(hash: HashName, from: string, to: string): SealedFile {
  const source = openSync(from, "r");
  try {
    const target = openSync(to, "wx", 0o644);
    try {
      let size = 0;
      function* copy(): Generator<Uint8Array> {
        for (;;) {
          const chunk = Buffer.allocUnsafe(CHUNK);
          const count = readSync(source, chunk);
          if (count === 0) return;
          writeSync(target, chunk, 0, count);
          size += count;
          yield chunk.subarray(0, count);
        }
      }
      const { tree, descriptor, digest } = verityMetadata(hash, hashBytes[hash], copy());
      const treeAt = roundUp(size, METADATA_ALIGNMENT);
      const descriptorAt = roundUp(treeAt + tree.length, BLOCK);
      const end = roundUp(descriptorAt + descriptor.length + 4, BLOCK);
      const length = Buffer.alloc(4);
      length.writeUInt32LE(descriptor.length);
      ftruncateSync(target, end);
      if (tree.length > 0) writeSync(target, tree, 0, tree.length, treeAt);
      writeSync(target, descriptor, 0, descriptor.length, descriptorAt);
      writeSync(target, length, 0, 4, end - 4);
      return { size, digest };
    } finally {
      closeSync(target);
    }
  } finally {
    closeSync(source);
  }
}

function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}
