import zlib from "node:zlib";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ZstdFrames } from "../../src/formats/zstd-frames.ts";

const frame = (data: Uint8Array, params: Record<number, number> = {}) =>
  zlib.zstdCompressSync(data, { params });
const checksummed = { [zlib.constants.ZSTD_c_checksumFlag]: 1 };
const sizeless = { [zlib.constants.ZSTD_c_contentSizeFlag]: 0 };

function skippable(length: number, magic = 0x50): Buffer {
  const out = Buffer.alloc(8 + length, 0x28);
  out.set([magic, 0x2a, 0x4d, 0x18]);
  out.writeUInt32LE(length, 4);
  return out;
}

/** Pieces put together to frames: a piece starts a new one if it starts with the magic number. */
function framesOf(chunks: readonly Uint8Array[]): Buffer[] {
  const scanner = new ZstdFrames();
  const frames: Buffer[] = [];
  for (const chunk of chunks) frames.push(...scanner.push(chunk).map((p) => Buffer.from(p)));
  scanner.end();
  return frames;
}

test("cuts at the end of every frame, and leaves skippable ones out", () => {
  const a = frame(Buffer.from("a"), checksummed);
  const b = frame(Buffer.alloc(300_000, "b"));
  const c = frame(Buffer.from(Array.from({ length: 70_000 }, (_, i) => (i * i) >> 4)), sizeless);
  const none = frame(new Uint8Array(0));
  const all = Buffer.concat([skippable(3), a, b, skippable(0, 0x5f), none, c, skippable(1)]);
  expect(framesOf([all])).toEqual([a, b, none, c]);
});

test("finds the same frames however the data arrives", () => {
  const part = fc.oneof(
    fc.uint8Array({ maxLength: 300 }).map((data) => ({ data, bytes: frame(data, checksummed) })),
    fc.uint8Array({ maxLength: 300 }).map((data) => ({ data, bytes: frame(data, sizeless) })),
    fc.nat(20).map((length) => ({ data: new Uint8Array(0), bytes: skippable(length) })),
  );
  fc.assert(
    fc.property(
      fc.array(part, { minLength: 1, maxLength: 8 }),
      fc.integer({ min: 1, max: 50 }),
      (parts, step) => {
        const all = Buffer.concat(parts.map(({ bytes }) => bytes));
        const scanner = new ZstdFrames();
        const data: Buffer[] = [];
        let open: Buffer[] = [];
        for (let at = 0; at < all.length; at += step) {
          for (const piece of scanner.push(all.subarray(at, at + step))) {
            open.push(Buffer.from(piece));
            try {
              data.push(zlib.zstdDecompressSync(Buffer.concat(open)));
              open = []; // decodes, so it is a whole frame
            } catch {}
          }
        }
        scanner.end();
        expect(open).toEqual([]);
        expect(Buffer.concat(data)).toEqual(Buffer.concat(parts.map((p) => p.data)));
      },
    ),
  );
});

describe("refuses", () => {
  const good = frame(Buffer.from("some data that is long enough"));
  test.each<[string, Uint8Array, RegExp]>([
    ["nothing", new Uint8Array(0), /no zstd data/],
    ["something else", Buffer.from("tar!"), /offset 0: no zstd frame/],
    ["something after a frame", Buffer.concat([good, Buffer.from("more")]), /: no zstd frame/],
    ["a frame that is cut off", good.subarray(0, -1), /ends inside a frame, after \d+ bytes/],
    ["one byte of a frame", good.subarray(0, 1), /ends inside a frame, after 1 bytes/],
    ["half a skippable frame", skippable(9).subarray(0, 12), /ends inside a frame/],
    [
      "an unknown block",
      Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x20, 1, 7, 0, 0]),
      /offset 6: zstd block/,
    ],
  ])("%s", (_, bytes, message) => {
    expect(() => framesOf([bytes])).toThrow(message);
    expect(() => framesOf(Array.from(bytes, (byte) => Uint8Array.of(byte)))).toThrow(message);
  });
});
