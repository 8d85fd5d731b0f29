/** Hashing blocks in native code: every kernel that this processor has agrees with node:crypto. */
import { createHash } from "node:crypto";
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { DIGEST_SIZE, type HashName, toHex } from "../../src/formats/digest.ts";
import { fsverityDigest, VERITY_BLOCK_SIZE, VerityDigester } from "../../src/formats/fsverity.ts";
import { loadAddon } from "../../userspace/addon.ts";
import {
  blockKernels,
  digestBytes,
  digestFile,
  hashBlocks,
  hashBytes,
} from "../../userspace/hash.ts";
import { vectors } from "../formats/verity-vectors.ts";

const HASHES: HashName[] = ["sha256", "sha512"];
const scratch = mkdtempSync(join(tmpdir(), "cfsboot-hash-"));
afterAll(() => rmSync(scratch, { recursive: true }));

const waysOf = (hash: HashName) =>
  new Map([...blockKernels(hash), ["the fastest", hashBlocks[hash]] as const]);

/** Bytes of a seed, with a third of the blocks zero where `holes`. */
function noise(size: number, seed: number, holes = false): Uint8Array {
  let state = seed | 1;
  return new Uint8Array(size).map((_, i) => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return holes && ((i >> 12) + seed) % 3 === 0 ? 0 : state >>> 24;
  });
}

test("a processor has plain C, and what it has beyond is there", () => {
  for (const hash of HASHES) {
    const names = [...blockKernels(hash).keys()];
    expect(names[0]).toBe("plain");
    expect(new Set(names).size).toBe(names.length);
    expect(names.length).toBeGreaterThan(hash === "sha256" ? 1 : 0);
  }
});

describe.each(HASHES.flatMap((hash) => [...waysOf(hash).keys()].map((way) => ({ hash, way }))))(
  "$hash, $way",
  ({ hash, way }) => {
    const blocks = waysOf(hash).get(way)!;

    test.each(vectors.filter((vector) => vector.hash === hash))("$name", ({ data, digest }) => {
      expect(toHex(fsverityDigest(hash, hashBytes[hash], data, blocks))).toBe(digest);
    });

    test("any number of blocks in two buffers, at any address", () => {
      const count = fc.integer({ min: 0, max: 40 });
      fc.assert(
        fc.property(
          fc.integer({ min: 0, max: 3 }),
          count,
          fc.integer({ min: 0, max: 63 }),
          fc.integer(),
          fc.boolean(),
          (held, rest, shift, seed, holes) => {
            const data = noise((held + rest) * VERITY_BLOCK_SIZE, seed, holes);
            const unaligned = new Uint8Array(data.length + shift);
            unaligned.set(data, shift);
            const cut = shift + held * VERITY_BLOCK_SIZE;
            const out = new Uint8Array((held + rest) * DIGEST_SIZE[hash] + 2).fill(0xee);
            blocks(unaligned.subarray(shift, cut), unaligned.subarray(cut), out.subarray(1, -1));
            for (let i = 0; i < held + rest; i++) {
              const block = data.subarray(i * VERITY_BLOCK_SIZE, (i + 1) * VERITY_BLOCK_SIZE);
              const at = 1 + i * DIGEST_SIZE[hash];
              expect(toHex(out.subarray(at, at + DIGEST_SIZE[hash]))).toBe(
                createHash(hash).update(block).digest("hex"),
              );
            }
            // nothing beside the digests was written
            expect([out[0], out.at(-1)]).toEqual([0xee, 0xee]);
          },
        ),
        { numRuns: 30 },
      );
    });

    test("the digest is that of node:crypto, for any size, in any chunks", () => {
      const size = fc.oneof(
        fc.integer({ min: 0, max: 300 * VERITY_BLOCK_SIZE }),
        fc
          .tuple(fc.integer({ min: 1, max: 300 }), fc.integer({ min: -1, max: 1 }))
          .map(([n, by]) => n * VERITY_BLOCK_SIZE + by),
      );
      fc.assert(
        fc.property(
          size,
          fc.integer(),
          fc.integer({ min: 1, max: 100_000 }),
          (length, seed, step) => {
            const data = noise(length, seed, seed % 2 === 0);
            const digester = new VerityDigester(hash, hashBytes[hash], { hashBlocks: blocks });
            for (let at = 0; at < length; at += step) digester.update(data.subarray(at, at + step));
            const expected = fsverityDigest(hash, hashBytes[hash], data);
            expect(toHex(digester.digest())).toBe(toHex(expected));
          },
        ),
        { numRuns: 12 },
      );
    });
  },
);

describe.each(HASHES)("%s", (hash) => {
  test("a file and bytes in memory have the digest that node:crypto gives", () => {
    for (const size of [0, 1, 4095, 4096, 4097, 1 << 20, (1 << 20) + 1, 5_000_000]) {
      const data = noise(size, size);
      const expected = toHex(fsverityDigest(hash, hashBytes[hash], data));
      expect(toHex(digestBytes(hash, data))).toBe(expected);
      const file = join(scratch, "data");
      writeFileSync(file, data);
      const fd = openSync(file, "r");
      try {
        expect(toHex(digestFile(hash, fd))).toBe(expected);
        expect(readSync(fd, new Uint8Array(1))).toBe(0);
      } finally {
        closeSync(fd);
      }
    }
  });

  test("what is not whole blocks, or has no room for its digests, is refused", () => {
    const blocks = hashBlocks[hash];
    const none = new Uint8Array(0);
    const one = new Uint8Array(VERITY_BLOCK_SIZE);
    expect(() => blocks(none, one.subarray(1), new Uint8Array(64))).toThrow(/0 and 4095 bytes/);
    expect(() => blocks(one.subarray(1), none, new Uint8Array(64))).toThrow(/4095 and 0 bytes/);
    const room = new Uint8Array(2 * DIGEST_SIZE[hash] - 1).fill(0xee);
    expect(() => blocks(one, one, room)).toThrow(/hash blocks/);
    expect(new Set(room)).toEqual(new Set([0xee]));
  });
});

test("an algorithm or a kernel that there is not is refused", () => {
  const { verity_hash_blocks, verity_kernel } = loadAddon();
  const one = new Uint8Array(VERITY_BLOCK_SIZE);
  const out = new Uint8Array(64);
  for (const [algorithm, kernel] of [
    [0, -1],
    [3, -1],
    [-1, -1],
    [1, -2],
    [1, 100],
  ] as const) {
    expect(verity_hash_blocks!(algorithm, kernel, one, one.subarray(0, 0), out)).toBeLessThan(0);
  }
  expect(verity_kernel!(3, 0, out)).toBeLessThan(0);
  expect(verity_kernel!(1, 100, out)).toBeLessThan(0);
  expect(verity_kernel!(1, 0, out.subarray(0, 2))).toBeLessThan(0);
});
