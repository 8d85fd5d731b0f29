import { createHash } from "node:crypto";
import zlib, { gzipSync } from "node:zlib";
import { afterAll, describe, expect, test, vi } from "vitest";
import { decompress, layerCompression } from "../../userspace/decompress.ts";

type Decompress = typeof decompress;
type Zstd = typeof import("../../userspace/zstd.ts").zstd;

async function* inSteps(data: Uint8Array, step: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < data.length; at += step) yield data.subarray(at, at + step);
}

async function collect(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

function noise(length: number): Buffer {
  const blocks: Buffer[] = [];
  for (let i = 0; i * 64 < length; i++) {
    blocks.push(
      createHash("sha512")
        .update(`${i % 9000}`)
        .digest(),
    );
  }
  return Buffer.concat(blocks).subarray(0, length);
}

const big = Buffer.concat([noise(700_000), Buffer.alloc(2_000_000, "z"), noise(300_001)]);
const skippable = Buffer.from([0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 0x28, 0xb5, 0x2f]);
const small = Buffer.from("hello");

test.each([
  ["application/vnd.oci.image.layer.v1.tar", "none"],
  ["application/vnd.oci.image.layer.v1.tar+gzip", "gzip"],
  ["application/vnd.oci.image.layer.v1.tar+zstd", "zstd"],
  ["application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "gzip"],
  ["application/vnd.docker.image.rootfs.diff.tar", "none"],
  ["application/vnd.docker.image.rootfs.diff.tar.gzip", "gzip"],
  ["application/vnd.docker.image.rootfs.diff.tar.zstd", "zstd"],
  ["application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "gzip"],
  ["application/vnd.oci.image.layer.v1.tar+xz", undefined],
  ["application/vnd.oci.image.config.v1+json", undefined],
  ["application/octet-stream", undefined],
])("%s is compressed by %s", (mediaType, compression) => {
  expect(layerCompression(mediaType)).toBe(compression);
});

describe("gzip", () => {
  test("of one member and of several", async () => {
    const members = Buffer.concat([gzipSync(big), gzipSync(small), gzipSync(Buffer.alloc(0))]);
    for (const step of [1 << 20, 999]) {
      const out = await collect(decompress(inSteps(members, step), "gzip"));
      expect(out.equals(Buffer.concat([big, small]))).toBe(true);
    }
  });

  test("that is cut off or damaged is an error", async () => {
    const bytes = gzipSync(big);
    const cut = bytes.subarray(0, -9);
    await expect(collect(decompress(inSteps(cut, 4096), "gzip"))).rejects.toThrow(/unexpected end/);
    const damaged = Buffer.from(bytes);
    damaged[damaged.length - 6]! ^= 1; // of the checksum
    await expect(collect(decompress(inSteps(damaged, 4096), "gzip"))).rejects.toThrow(/data check/);
  });
});

test("an error of the source arrives, and a reader that stops ends the source", async () => {
  async function* failing() {
    yield gzipSync(small).subarray(0, 12);
    throw new Error("connection lost");
  }
  await expect(collect(decompress(failing(), "gzip"))).rejects.toThrow("connection lost");

  let ended = false;
  async function* endless() {
    try {
      for (;;) yield zlib.zstdCompressSync(big);
    } finally {
      ended = true;
    }
  }
  for await (const _ of decompress(endless(), "zstd")) break;
  await vi.waitFor(() => expect(ended).toBe(true));
});

const providers: [string, () => Promise<{ zstd: Zstd; decompress: Decompress }>][] = [
  [
    "node:zlib's",
    async () => ({ zstd: (await import("../../userspace/zstd.ts")).zstd, decompress }),
  ],
  [
    "libraries', where node:zlib has none",
    async () => {
      vi.resetModules();
      vi.doMock("node:zlib", (original) =>
        original<{ default: typeof zlib }>().then(({ default: { ...rest } }) => {
          const { zstdCompressSync, zstdDecompressSync, createZstdDecompress, ...old } = rest;
          return { ...old, default: old };
        }),
      );
      return {
        zstd: (await import("../../userspace/zstd.ts")).zstd,
        decompress: (await import("../../userspace/decompress.ts")).decompress,
      };
    },
  ],
];

describe.each(providers)("zstd by %s", (name, load) => {
  afterAll(() => {
    vi.doUnmock("node:zlib");
    vi.resetModules();
  });

  test("is what this test means it to be", async () => {
    await load();
    const { default: seen } = await import("node:zlib");
    expect("zstdCompressSync" in seen).toBe(name === "node:zlib's");
  });

  test("compresses to one frame that others can read", async () => {
    const { zstd } = await load();
    for (const data of [big, small, Buffer.alloc(0)]) {
      const out = Buffer.from(zlib.zstdDecompressSync(zstd.compress(data)));
      expect(out.equals(data)).toBe(true);
    }
  });

  test("decompresses frames of any number, in one go and as they arrive", async () => {
    const { zstd, decompress } = await load();
    const frame = (data: Buffer) => zlib.zstdCompressSync(data);
    const all = [
      skippable,
      frame(big),
      frame(Buffer.alloc(0)),
      frame(small),
      skippable,
      frame(big),
    ];
    const bytes = Buffer.concat(all);
    const expected = Buffer.concat([big, small, big]);
    const last = await collect(decompress(inSteps(frame(small), 5), "zstd"));
    expect(last.toString()).toBe("hello");
    expect(Buffer.from(zstd.decompress(bytes, expected.length)).equals(expected)).toBe(true);
    for (const step of [bytes.length, 65_537, 777]) {
      const out = await collect(decompress(inSteps(bytes, step), "zstd"));
      expect(out.equals(expected)).toBe(true);
    }
  });

  test("goes up to the limit and not beyond", async () => {
    const { zstd } = await load();
    const bytes = zstd.compress(big);
    expect(zstd.decompress(bytes, big.length).length).toBe(big.length);
    expect(() => zstd.decompress(bytes, big.length - 1)).toThrow();
    expect(() => zstd.decompress(zstd.compress(small), 0)).toThrow();
    expect(zstd.decompress(zstd.compress(Buffer.alloc(0)), 0).length).toBe(0);
  });

  test("holds no more than a part of a frame that becomes huge", async () => {
    const { zstd } = await load();
    const huge = 100 << 20;
    const bytes = zlib.zstdCompressSync(Buffer.alloc(huge, 5));
    let size = 0;
    for (const piece of zstd.decompressPieces(bytes, huge)) {
      size += piece.length;
      expect(piece.length).toBeLessThanOrEqual(1 << 17);
      if (piece.some((byte) => byte !== 5)) throw new Error("wrong data");
    }
    expect(size).toBe(huge);
    expect(() => zstd.decompress(bytes, huge - 1)).toThrow(/more than/);
  });

  test("refuses a window that takes gigabytes", async () => {
    const { zstd } = await load();
    // magic number, no content size, window of 2 GiB, a last block of zeros
    const bytes = Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0, 21 << 3, 0x43, 0, 0, 0);
    expect(() => zstd.decompress(bytes, 100)).toThrow(/window of 2147483648 bytes, at most/);
  });

  test("refuses what is cut off or something else", async () => {
    const { zstd, decompress } = await load();
    const good = zlib.zstdCompressSync(big);
    const second = Buffer.concat([good, good.subarray(0, 100)]);
    const more = Buffer.concat([good, Buffer.from("more")]);
    for (const bytes of [
      good.subarray(0, -1),
      second,
      more,
      Buffer.from("what"),
      Buffer.alloc(0),
    ]) {
      expect(() => zstd.decompress(bytes, 1e9)).toThrow(/zstd/);
      await expect(collect(decompress(inSteps(bytes, 5000), "zstd"))).rejects.toThrow(/zstd/);
    }
  });
});
