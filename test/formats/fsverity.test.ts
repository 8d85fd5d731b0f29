import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type HashName, toHex } from "../../src/formats/digest.ts";
import {
  fsverityDigest,
  VERITY_BLOCK_SIZE,
  VerityDigester,
  verityMetadata,
} from "../../src/formats/fsverity.ts";
import { hashBytes } from "../../userspace/hash.ts";
import { vectors } from "./verity-vectors.ts";

const HASHES: HashName[] = ["sha256", "sha512"];

const digestHex = (hash: HashName, data: Uint8Array) =>
  toHex(fsverityDigest(hash, hashBytes[hash], data));

/** Data that has zero blocks in it, and a way to cut it into chunks. */
const chunked = fc
  .tuple(
    fc.integer({ min: 0, max: 70 * VERITY_BLOCK_SIZE }),
    fc.integer(),
    fc.array(fc.integer({ min: 0, max: 3 * VERITY_BLOCK_SIZE }), { maxLength: 40 }),
  )
  .map(([size, seed, cuts]) => {
    const data = new Uint8Array(size).map(
      (_, i) => ((i >> 12) + seed) % 3 && (i * 31 + seed) & 255,
    );
    const chunks: Uint8Array[] = [];
    let at = 0;
    for (const cut of cuts) {
      chunks.push(data.slice(at, at + cut));
      at = Math.min(at + cut, size);
    }
    chunks.push(data.slice(at));
    return { data, chunks };
  });

test.each(vectors)("$name, $hash", ({ hash, data, digest }) => {
  expect(digestHex(hash, data)).toBe(digest);
});

describe.each(HASHES)("%s", (hash) => {
  test("the digest does not depend on how the data is cut", () => {
    fc.assert(
      fc.property(chunked, ({ data, chunks }) => {
        const digester = new VerityDigester(hash, hashBytes[hash]);
        const buffer = new Uint8Array(data.length);
        for (const chunk of chunks) {
          const reused = buffer.subarray(0, chunk.length);
          reused.set(chunk);
          digester.update(reused);
          reused.fill(0xaa);
        }
        expect(digester.size).toBe(data.length);
        expect(toHex(digester.digest())).toBe(digestHex(hash, data));
      }),
      { numRuns: 60 },
    );
  });

  test("the tree that it yields is the one that the digest stands for", () => {
    for (const blocks of [0, 1, 2, 64, 65, 128, 129, 64 * 64 + 1]) {
      const data = new Uint8Array(blocks * VERITY_BLOCK_SIZE).map((_, i) => i % 249);
      const { tree, descriptor, digest } = verityMetadata(hash, hashBytes[hash], [data]);
      expect(toHex(digest)).toBe(digestHex(hash, data));
      expect(descriptor.length).toBe(256);
      // the last level holds the hashes of the data, every other one those of the level below it; the top has one block
      const perBlock = VERITY_BLOCK_SIZE / hashBytes[hash](data.subarray(0, 0)).length;
      let below: Uint8Array = data;
      let end = tree.length;
      while (below.length > VERITY_BLOCK_SIZE) {
        const size = Math.ceil(below.length / VERITY_BLOCK_SIZE / perBlock) * VERITY_BLOCK_SIZE;
        const level = tree.subarray(end - size, end);
        const hashes = new Uint8Array(size);
        for (let i = 0; i * VERITY_BLOCK_SIZE < below.length; i++) {
          const block = below.subarray(i * VERITY_BLOCK_SIZE, (i + 1) * VERITY_BLOCK_SIZE);
          hashes.set(hashBytes[hash](block), (i * VERITY_BLOCK_SIZE) / perBlock);
        }
        expect(Buffer.compare(level, hashes)).toBe(0);
        end -= size;
        below = level;
      }
      expect(end).toBe(0);
      const root = data.length === 0 ? new Uint8Array(0) : hashBytes[hash](below);
      expect(toHex(descriptor.subarray(16, 16 + root.length))).toBe(toHex(root));
    }
  });

  test("the fsverity tool writes the same tree and descriptor", (ctx) => {
    try {
      execFileSync("fsverity", ["--version"], { stdio: "ignore" });
    } catch {
      ctx.skip("fsverity (fsverity-utils) is not installed");
    }
    const dir = mkdtempSync(join(tmpdir(), "cfsboot-fsverity-"));
    try {
      for (const size of [0, 5, 4096, 4097, 600_000]) {
        const data = new Uint8Array(size).map((_, i) => i % 247);
        const file = join(dir, "data");
        writeFileSync(file, data);
        const options = [`--hash-alg=${hash}`, `--out-merkle-tree=${join(dir, "tree")}`];
        options.push(`--out-descriptor=${join(dir, "descriptor")}`, "--compact", file);
        const digest = execFileSync("fsverity", ["digest", ...options], { encoding: "utf8" });
        const ours = verityMetadata(hash, hashBytes[hash], [data]);
        expect(toHex(ours.digest)).toBe(digest.trim());
        expect(toHex(ours.tree)).toBe(readFileSync(join(dir, "tree"), "hex"));
        expect(toHex(ours.descriptor)).toBe(readFileSync(join(dir, "descriptor"), "hex"));
      }
    } finally {
      rmSync(dir, { recursive: true });
    }
  });
});
