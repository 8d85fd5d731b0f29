/** Layers that are stored by threads of their own: as if this one had done it. */
import { execFile } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import zlib from "node:zlib";
import { afterEach, beforeEach, expect, test } from "vitest";
import { describeError } from "../../userspace/cli/errors.ts";
import { importLayers, type LayerWork } from "../../userspace/oci/import-layers.ts";
import type { ImportStats } from "../../userspace/oci/layer.ts";
import { LayerThread } from "../../userspace/oci/layer-thread.ts";
import type { BlobDescriptor, Transport } from "../../userspace/oci/transport.ts";
import { collectGarbage } from "../../userspace/repository/gc.ts";
import { openRepository } from "../../userspace/repository/repository.ts";
import { type Compression, compress, image, tar, writeLayout } from "./fixtures/images.ts";
import { makeRepository, requireIntact } from "./fixtures/pulling.ts";
import { digestOf } from "./fixtures/registry-server.ts";

const GZIP = "application/vnd.oci.image.layer.v1.tar+gzip";
const PROGRAM = join(import.meta.dirname, "../../dist/cfsboot.mjs");

let scratch: string;
beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), "layer-threads-"));
});
afterEach(() => rmSync(scratch, { recursive: true }));

/** A file of this many bytes, always the same ones. */
function content(name: string, size: number): Buffer {
  return createHash("shake256", { outputLength: size }).update(name).digest();
}

/** Large and small files; all layers have one in common. */
function layer(name: string): Buffer {
  const files = Array.from({ length: 60 }, (_, i) => ({
    path: `usr/${name}/${i}`,
    data: content(`${name}${i}`, 40 * i * i),
  }));
  const directories = ["usr/", `usr/${name}/`].map((path) => ({ path }));
  return tar([...directories, ...files, { path: "usr/same", data: content("same", 300_000) }]);
}

interface Fake {
  readonly work: LayerWork;
  readonly bytes: Buffer;
}

function fake(index: number, tarBytes: Buffer, compression: Compression): Fake {
  const bytes = compress(tarBytes, compression);
  const mediaType = GZIP.replace("+gzip", compression === "none" ? "" : `+${compression}`);
  const descriptor = { mediaType, digest: digestOf(bytes), size: bytes.length };
  return { work: { index, descriptor, diffId: digestOf(tarBytes) }, bytes };
}

/** A transport of these layers, in pieces of `piece` bytes. */
function transportOf(layers: readonly Fake[], piece = 10_000): Transport {
  const never = () => Promise.reject(new Error("not here"));
  return {
    root: never,
    manifest: never,
    async *blob({ digest }: BlobDescriptor) {
      const { bytes } = layers.find(({ work }) => work.descriptor.digest === digest)!;
      for (let at = 0; at < bytes.length; at += piece) yield bytes.subarray(at, at + piece);
    },
    close: async () => {},
  };
}

/** Stores the layers, with so many threads, into a new repository. */
async function store(
  path: string,
  layers: readonly Fake[],
  threads: number,
  transport = transportOf(layers),
): Promise<ImportStats> {
  makeRepository(path);
  using repository = openRepository(path);
  const works = layers.map(({ work }) => work);
  return await importLayers(repository, transport, works, { threads });
}

async function failure(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => "done",
    (error: unknown) => describeError(error).message,
  );
}

test.each([1, 2, 5])("%i threads leave what one that does it all leaves", async (threads) => {
  const compressions = ["gzip", "none", "zstd"] as const;
  const layers = compressions.map((compression, i) => fake(i, layer(`l${i}`), compression));
  const artifact = fake(3, randomBytes(1_000_000), "none");
  const all = [...layers, { ...artifact, work: { ...artifact.work, asIs: true } }];
  const received = new Map<number, number>();
  const stored: number[] = [];

  const expected = await store(join(scratch, "here"), all, 0);
  makeRepository(join(scratch, "threads"));
  using repository = openRepository(join(scratch, "threads"));
  const stats = await importLayers(
    repository,
    transportOf(all),
    all.map(({ work }) => work),
    {
      threads,
      progress: {
        received: (index, bytes) => received.set(index, (received.get(index) ?? 0) + bytes),
        stored: (index) => stored.push(index),
      },
    },
  );
  // with several threads, the object that they have in common may be stored by any of them
  const total = (s: ImportStats) => [
    s.objectsStored + s.objectsExisting,
    s.bytesStored + s.bytesExisting,
    s.bytesInline,
  ];
  expect(total(stats)).toEqual(total(expected));
  expect(stored.toSorted()).toEqual([0, 1, 2, 3]);
  expect([...received].toSorted()).toEqual(all.map(({ bytes }, i) => [i, bytes.length]));
  expect(requireIntact(join(scratch, "threads"))).toEqual(requireIntact(join(scratch, "here")));
  const objects = (repo: string) =>
    readdirSync(join(scratch, repo, "objects"), { recursive: true }).toSorted();
  expect(objects("threads")).toEqual(objects("here"));
});

const good = layer("good");
const zipped = zlib.gzipSync(good);
const truncated = zipped.subarray(0, zipped.length >> 1);
const broken = Buffer.from(zipped);
broken.fill(0x55, zipped.length >> 1, (zipped.length >> 1) + 5000);
const bad: readonly (readonly [string, (f: Fake) => Fake])[] = [
  ["another digest", ({ work, bytes }) => ({ work, bytes: damaged(bytes) })],
  ["too short", ({ work, bytes }) => ({ work, bytes: bytes.subarray(0, -1000) })],
  ["too long", ({ work, bytes }) => ({ work, bytes: Buffer.concat([bytes, randomBytes(9)]) })],
  ["another diff_id", (f) => ({ ...f, work: { ...f.work, diffId: digestOf(zipped) } })],
  ["cut-off gzip", ({ work }) => consistent(work, truncated)],
  ["broken gzip", ({ work }) => consistent(work, broken)],
  ["no tar", ({ work }) => consistent(work, zlib.gzipSync(randomBytes(5000)))],
  ["cut-off tar", ({ work }) => consistent(work, zlib.gzipSync(good.subarray(0, 10_000)))],
];

function damaged(bytes: Buffer): Buffer {
  const copy = Buffer.from(bytes);
  copy.fill(0x55, 20_000, 20_100);
  return copy;
}

/** Other bytes, which the manifest agrees with. */
function consistent(work: LayerWork, bytes: Buffer): Fake {
  const descriptor = { ...work.descriptor, digest: digestOf(bytes), size: bytes.length };
  return { work: { ...work, descriptor }, bytes };
}

test.each(bad)("%s: the same error, and nothing is stored", async (_, spoil) => {
  const layers = [spoil(fake(0, good, "gzip"))];
  const message = await failure(store(join(scratch, "here"), layers, 0));
  expect(message).toMatch(/^layer 1 \(sha256:/);
  const path = join(scratch, "threads");
  expect(await failure(store(path, layers, 1))).toBe(message);
  expect(requireIntact(path)).toEqual([]);
});

test("the first failure ends the others; nobody holds the repository after that", async () => {
  const [slow, wrong] = [fake(0, layer("slow"), "gzip"), fake(1, layer("wrong"), "gzip")];
  const spoilt = consistent(wrong.work, zlib.gzipSync(Buffer.from("no tar".repeat(500))));
  const layers = [slow, spoilt];
  const transport = transportOf(layers);
  let aborted = false;
  const stalling: Transport = {
    ...transport,
    async *blob(descriptor, signal) {
      if (descriptor.digest !== slow.work.descriptor.digest) {
        yield* transport.blob(descriptor);
        return;
      }
      yield slow.bytes.subarray(0, slow.bytes.length >> 1);
      while (signal?.aborted === false) await new Promise((resolve) => setTimeout(resolve, 5));
      aborted = true;
      throw new Error("aborted");
    },
  };
  const path = makeRepository(join(scratch, "repo"));
  using repository = openRepository(path);
  const works = layers.map(({ work }) => work);
  const message = await failure(importLayers(repository, stalling, works, { threads: 2 }));
  expect(message).toMatch(/^layer 2 /);
  expect(aborted).toBe(true);
  collectGarbage(repository); // alone: it would wait for ever for a thread that still has a lock
  expect(requireIntact(path)).toEqual([]);
});

test("what the source fails with comes out, and the thread goes on with the next layer", async () => {
  const path = makeRepository(join(scratch, "repo"));
  using repository = openRepository(path);
  const { work, bytes } = fake(0, good, "gzip");
  const job = { diffId: work.diffId, compression: "gzip", asIs: false } as const;
  const thread = new LayerThread(repository);
  try {
    const reset = Object.assign(new Error("reset"), { code: "ECONNRESET" });
    for (const size of [0, 100, 300_000, bytes.length]) {
      const failing = (async function* () {
        yield bytes.subarray(0, size);
        throw reset;
      })();
      await expect(thread.store(job, failing)).rejects.toBe(reset);
      expect(requireIntact(path)).toEqual([]);
    }
    const whole = (async function* () {
      yield bytes;
    })();
    expect((await thread.store(job, whole)).objectsStored).toBeGreaterThan(0);
    expect(requireIntact(path)).toHaveLength(1);
  } finally {
    await thread.close();
  }
});

test("no more is fetched ahead than a thread can be given", async () => {
  using repository = openRepository(makeRepository(join(scratch, "repo")));
  const piece = Buffer.alloc(1 << 18);
  let asked = 0;
  const source = (async function* () {
    for (; asked < 200; asked++) yield piece;
  })();
  const thread = new LayerThread(repository);
  try {
    const diffId = digestOf(Buffer.alloc(0)); // of blobs, it is not looked at here
    const stored = thread.store({ diffId, compression: "none", asIs: true }, source);
    // as many turns of this thread's loop as it takes; the other one has not even started
    for (let before = -1; before !== asked; await new Promise(setImmediate)) before = asked;
    expect(asked).toBeGreaterThan(0);
    expect(asked).toBeLessThan(20);
    expect((await stored).bytesStored).toBe(200 * piece.length);
  } finally {
    await thread.close();
  }
});

test("the program as it is shipped, with layers that are worth threads", async () => {
  const tars = [0, 1, 2].map((i) =>
    tar([{ path: "usr/" }, { path: `usr/${i}`, data: content(`big${i}`, 3 << 20) }]),
  );
  const layout = join(scratch, "layout");
  writeLayout(layout, [
    { image: image(tars.map((bytes) => ({ tar: bytes, compression: "gzip" }))) },
  ]);
  const path = makeRepository(join(scratch, "repo"));
  const args = ["image", "pull", "--repo", path, `oci:${layout}`, "x"];
  const { stdout } = await promisify(execFile)(process.execPath, [PROGRAM, ...args]);
  expect(stdout).toContain("objects  3 new + 0 already present");
  expect(requireIntact(path)).toHaveLength(5);
});
