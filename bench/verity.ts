/**
 * fs-verity digests: bytes per second, beside one stream of node:crypto (OpenSSL) over the same data.
 *
 *     node bench/verity.ts [SECONDS]        for each hash; 2 unless told
 *
 * Prints a table. What is compared takes turns, and its best turn counts, so that a processor that is busy with
 * something else, or changes its clock, disturbs all alike. "blocks" is the addon alone, with each of its kernels and
 * with the one that it chooses; a digest is of the tree above the data, too.
 */
import { createHash } from "node:crypto";
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { DIGEST_SIZE, type HashName } from "../src/formats/digest.ts";
import { fsverityDigest, type HashBlocks, VERITY_BLOCK_SIZE } from "../src/formats/fsverity.ts";
import {
  blockKernels,
  digestBytes,
  digestFile,
  hashBlocks,
  hashBytes,
  newVerityDigester,
} from "../userspace/hash.ts";

const SIZE = 4 << 20;
const REFERENCE = "one stream, node:crypto";

/** Bytes without a pattern. */
function noise(size: number): Uint8Array {
  let state = 1;
  return new Uint8Array(size).map(() => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return state >>> 24;
  });
}

/** What is measured, by name: each goes over all of the data once. */
function ways(hash: HashName, data: Uint8Array, file: string): Map<string, () => void> {
  const hashes = new Uint8Array((SIZE / VERITY_BLOCK_SIZE) * DIGEST_SIZE[hash]);
  const blocks = (way: HashBlocks) => () => way(data.subarray(0, 0), data, hashes);
  const inPieces = (size: number, piece: (bytes: Uint8Array) => void) => () => {
    for (let at = 0; at < SIZE; at += size) piece(data.subarray(at, at + size));
  };
  const digester = (size: number) => () => {
    const made = newVerityDigester(hash);
    inPieces(size, (bytes) => made.update(bytes))();
    made.digest();
  };
  const out = new Map<string, () => void>();
  out.set(REFERENCE, () => createHash(hash).update(data).digest());
  out.set("digest, node:crypto alone", () => fsverityDigest(hash, hashBytes[hash], data));
  for (const [name, way] of blockKernels(hash)) out.set(`blocks, ${name}`, blocks(way));
  out.set("blocks", blocks(hashBlocks[hash]));
  out.set("digest", () => digestBytes(hash, data));
  for (const kib of [64, 16]) out.set(`digest, in chunks of ${kib} KiB`, digester(kib << 10));
  out.set("digest of a file", () => {
    const fd = openSync(file, "r");
    digestFile(hash, fd);
    closeSync(fd);
  });
  for (const kib of [64, 16, 4]) {
    const small = inPieces(kib << 10, (bytes) => digestBytes(hash, bytes));
    out.set(`digests of ${kib} KiB each`, small);
  }
  return out;
}

/** The best time of each, in seconds. */
function measure(all: ReadonlyMap<string, () => void>, seconds: number): Map<string, number> {
  const times = new Map<string, number>();
  const end = performance.now() + seconds * 1000;
  for (let turn = 0; turn < 3 || performance.now() < end; turn++) {
    for (const [name, way] of all) {
      const start = performance.now();
      way();
      const time = (performance.now() - start) / 1000;
      times.set(name, Math.min(time, times.get(name) ?? time));
    }
  }
  return times;
}

const row = (name: string, columns: readonly string[]) =>
  console.log(name.padEnd(38) + columns.map((text) => text.padStart(10)).join(""));

function main(seconds: number): void {
  const scratch = mkdtempSync(join(tmpdir(), "bench-verity-"));
  try {
    const data = noise(SIZE);
    const file = join(scratch, "data");
    writeFileSync(file, data);
    const { openssl } = process.versions;
    console.log(`${cpus()[0]?.model}, Node ${process.version}, OpenSSL ${openssl}\n`);
    row("", ["MB/s", "ratio"]);
    for (const hash of ["sha256", "sha512"] as const) {
      const times = measure(ways(hash, data, file), seconds);
      const unit = times.get(REFERENCE)!;
      for (const [name, time] of times) {
        row(`${hash} ${name}`, [(SIZE / time / 1e6).toFixed(0), (unit / time).toFixed(2)]);
      }
    }
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

main(Number(process.argv[2] ?? 2));
