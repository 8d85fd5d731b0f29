import { createHash } from "node:crypto";
import zlib, { gunzipSync } from "node:zlib";
import { afterEach, describe, expect, test, vi } from "vitest";
import type { Compression } from "../../userspace/decompress.ts";

afterEach(() => {
  vi.doUnmock("node:zlib");
  vi.resetModules();
});

/** The module as it is where node:zlib has zstd, and where it has none. */
async function load(native: boolean) {
  vi.resetModules();
  if (!native)
    vi.doMock("node:zlib", (original) =>
      original<{ default: typeof zlib }>().then(({ default: { ...rest } }) => {
        const {
          zstdCompressSync,
          zstdDecompressSync,
          createZstdCompress,
          createZstdDecompress,
          ...old
        } = rest;
        return { ...old, default: old };
      }),
    );
  return (await import("../../userspace/compress.ts")).compress;
}

const noise = Buffer.concat(
  Array.from({ length: 90_000 }, (_, i) => createHash("sha512").update(`${i}`).digest()),
);

async function* inSteps(data: Uint8Array, step: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < data.length; at += step) yield data.subarray(at, at + step);
}

async function collect(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** All frames. */
async function unzstd(bytes: Uint8Array): Promise<Buffer> {
  const { decompress } = await import("../../userspace/decompress.ts");
  return collect(decompress(inSteps(bytes, 70_001), "zstd"));
}

describe.each([true, false])("where node:zlib has zstd: %s", (native) => {
  test.each([0, 5, 5_700_000])("%d bytes can be read by others", async (size) => {
    const compress = await load(native);
    const data = noise.subarray(0, size);
    const run = (compression: Compression) => collect(compress(inSteps(data, 65_000), compression));
    expect((await run("none")).equals(data)).toBe(true);
    expect(gunzipSync(await run("gzip")).equals(data)).toBe(true);
    const zstd = await run("zstd");
    expect((await unzstd(zstd)).equals(data)).toBe(true);
    if (native) expect(zlib.zstdDecompressSync(zstd).equals(data)).toBe(true);
  });

  test.each(["gzip", "zstd"] as const)(
    "%s: an error of the source arrives",
    async (compression) => {
      const compress = await load(native);
      async function* failing() {
        yield noise.subarray(0, 100_000);
        throw new Error("layer is damaged");
      }
      await expect(collect(compress(failing(), compression))).rejects.toThrow("layer is damaged");
    },
  );
});
