import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DIGEST_SIZE, type HashName, toHex } from "../../src/formats/digest.ts";
import {
  type Chunk,
  CONTENT_TYPES,
  contentTypeOf,
  parseSplitstream,
  type Splitstream,
  type Zstd,
} from "../../src/formats/splitstream.ts";
import { SplitstreamWriter } from "../../src/formats/splitstream-writer.ts";
import { zstd } from "../../userspace/zstd.ts";

const HEADER = 32;
const INFO = 80;
const text = (bytes: string) => new TextEncoder().encode(bytes);
const digest = (hash: HashName, fill: number) => new Uint8Array(DIGEST_SIZE[hash]).fill(fill);

type Piece = Uint8Array | { readonly fill: number; readonly size: number };

function write(
  pieces: readonly Piece[],
  names: readonly (readonly [string, number])[] = [],
  hash: HashName = "sha256",
  through = zstd,
): Uint8Array {
  const writer = new SplitstreamWriter(hash, CONTENT_TYPES["oci-layer"], through);
  for (const piece of pieces) {
    if (piece instanceof Uint8Array) writer.inline(piece);
    else writer.external(digest(hash, piece.fill), piece.size);
  }
  for (const [name, fill] of names) writer.addNamedRef(name, digest(hash, fill));
  return writer.finish();
}

/** Everything that a splitstream says. */
function content(stream: Splitstream) {
  const chunks: Chunk[] = [...stream.chunks()];
  return {
    type: stream.contentType,
    size: stream.size,
    objectRefs: stream.objectRefs.map(toHex),
    names: [...stream.namedRefs()].map(([name, value]) => [name, toHex(value)]),
    chunks: chunks.map((c) => (c.type === "inline" ? Buffer.from(c.data) : toHex(c.digest))),
  };
}

/** The same stream under the header of the first releases. */
function withOldHeader(bytes: Uint8Array): Uint8Array {
  const old = bytes.slice();
  old.set(bytes.subarray(16, 32), 0);
  old.set(bytes.subarray(12, 14), 16);
  old.set(bytes.subarray(0, 11), 18);
  old[29] = bytes[11]!;
  old[30] = bytes[14]!;
  old[31] = bytes[15]!;
  return old;
}

describe("layout", () => {
  test("a stream of one object", () => {
    const writer = new SplitstreamWriter("sha256", CONTENT_TYPES["oci-blob"], zstd);
    writer.external(digest("sha256", 0xaa), 5);
    const bytes = Buffer.from(writer.finish());
    const names = Buffer.from(zstd.compress(new Uint8Array(0)));
    const stream = Buffer.from(zstd.compress(new Uint8Array(8)));
    const afterNames = 144 + names.length;
    const range = (from: number, to: number) => {
      const out = Buffer.alloc(16);
      out.writeBigUInt64LE(BigInt(from), 0);
      out.writeBigUInt64LE(BigInt(to), 8);
      return out;
    };
    expect(bytes.toString("hex")).toBe(
      Buffer.concat([
        Buffer.from("SplitStream"),
        Buffer.from([0, 0, 0, 1, 12]),
        range(32, 112),
        range(112, 112),
        range(112, 144),
        range(afterNames, afterNames + stream.length),
        range(144, afterNames),
        Buffer.from("oci_blob"),
        range(5, 0).subarray(0, 8),
        Buffer.alloc(32, 0xaa),
        names,
        stream,
      ]).toString("hex"),
    );
  });

  test("content types are the eight characters", () => {
    const chars = (type: bigint) => {
      const out = Buffer.alloc(8);
      out.writeBigUInt64LE(type);
      return out.toString();
    };
    expect(chars(CONTENT_TYPES["oci-layer"])).toBe("ocilayer");
    expect(chars(CONTENT_TYPES["oci-config"])).toBe("ociconfg");
    expect(chars(CONTENT_TYPES["oci-manifest"])).toBe("ocimanif");
    expect(chars(CONTENT_TYPES["oci-blob"])).toBe("oci_blob");
    expect(chars(CONTENT_TYPES["ostree-summary"])).toBe("osummary");
  });

  test("adjacent inline data is one chunk, objects are listed once in order of appearance", () => {
    const big = { fill: 9, size: 100 };
    const bytes = write([
      text("a"),
      text(""),
      text("b"),
      big,
      { fill: 3, size: 70 },
      big,
      text("c"),
    ]);
    const stream = parseSplitstream(bytes, "sha256", zstd);
    const [nine, three] = [9, 3].map((fill) => toHex(digest("sha256", fill)));
    expect(content(stream)).toEqual({
      type: CONTENT_TYPES["oci-layer"],
      size: 273,
      objectRefs: [nine, three],
      names: [],
      chunks: [Buffer.from("ab"), nine, three, nine, Buffer.from("c")],
    });
  });

  test("names are sorted by their bytes and may hold colons", () => {
    const bytes = write(
      [],
      [
        ["\u{1f600}", 1],
        ["\ufffd", 2],
        ["config:sha256:ab", 2],
        ["", 3],
      ],
    );
    const names = parseSplitstream(bytes, "sha256", zstd).namedRefs();
    expect([...names.keys()]).toEqual(["", "config:sha256:ab", "\ufffd", "\u{1f600}"]);
    expect(names.get("config:sha256:ab")).toEqual(digest("sha256", 2));
  });

  test("a name has one digest and no NUL, a digest the right size", () => {
    const writer = new SplitstreamWriter("sha512", 1n, zstd);
    writer.addNamedRef("x", digest("sha512", 1));
    writer.addNamedRef("x", digest("sha512", 1));
    expect(() => writer.addNamedRef("x", digest("sha512", 2))).toThrow(/two digests/);
    expect(() => writer.addNamedRef("a\0b", digest("sha512", 1))).toThrow(/NUL/);
    expect(() => writer.external(digest("sha256", 1), 1)).toThrow(/32 bytes, 64 expected/);
  });

  test("a long one is the same when it is read, however it was compressed", () => {
    const piece = (i: number) => new Uint8Array(100_000).fill(i);
    const count = 100;
    const stream = write(
      Array.from({ length: 2 * count }, (_, i) => (i % 2 === 0 ? piece(i) : { fill: i, size: 1 })),
    );
    const { chunks, size } = content(parseSplitstream(stream, "sha256", zstd));
    expect(size).toBe(count * 100_001);
    expect(chunks).toHaveLength(2 * count);
    for (const [i, chunk] of chunks.entries()) {
      const matches =
        typeof chunk === "string" ? chunk === toHex(digest("sha256", i)) : chunk.equals(piece(i));
      expect(matches, `chunk ${i}`).toBe(true);
    }
  });

  test("nothing at all is a stream, too", () => {
    expect(content(parseSplitstream(write([]), "sha256", zstd))).toMatchObject({
      size: 0,
      chunks: [],
    });
  });
});

const pieces = fc.array(
  fc.oneof(
    fc.uint8Array({ maxLength: 600 }),
    fc.record({ fill: fc.integer({ min: 0, max: 20 }), size: fc.integer({ min: 65, max: 1e9 }) }),
  ),
  { maxLength: 40 },
);
const names = fc.uniqueArray(
  fc.tuple(
    fc.string({ unit: "binary" }).filter((name) => !name.includes("\0")),
    fc.nat(5),
  ),
  {
    selector: ([name]) => name,
    maxLength: 10,
  },
);
const hashes = fc.constantFrom<HashName>("sha256", "sha512");

describe("round trip", () => {
  test("what is read is what was written, under both headers", () => {
    fc.assert(
      fc.property(pieces, names, hashes, (pieces, names, hash) => {
        const bytes = write(pieces, names, hash);
        const stream = parseSplitstream(bytes, hash, zstd);
        const expected: (Buffer | string)[] = [];
        let size = 0;
        for (const piece of pieces) {
          const last = expected.at(-1);
          if (!(piece instanceof Uint8Array)) {
            expected.push(toHex(digest(hash, piece.fill)));
            size += piece.size;
          } else if (piece.length > 0) {
            if (last instanceof Buffer)
              expected[expected.length - 1] = Buffer.concat([last, piece]);
            else expected.push(Buffer.from(piece));
            size += piece.length;
          }
        }
        expect(content(stream)).toMatchObject({ size, chunks: expected });
        expect(Object.fromEntries(content(stream).names)).toEqual(
          Object.fromEntries(names.map(([name, fill]) => [name, toHex(digest(hash, fill))])),
        );
        const old = parseSplitstream(withOldHeader(bytes), hash, zstd);
        expect(content(old)).toEqual(content(stream));
      }),
      { numRuns: 200 },
    );
  });
});

describe("a stream that is decompressed in pieces", () => {
  /** Leaves data as it is; `cut` gives the pieces of a stream section. */
  const through = (cut: (data: Uint8Array) => Iterable<Uint8Array>): Zstd => ({
    compress: (data) => data.slice(),
    decompress: (data) => data,
    decompressPieces: cut,
  });

  test("is the same wherever they are cut", () => {
    fc.assert(
      fc.property(pieces, fc.integer({ min: 1, max: 700 }), (pieces, step) => {
        const cut = through(function* (data) {
          for (let at = 0; at < data.length; at += step) yield data.subarray(at, at + step);
        });
        const bytes = write(pieces, [["name", 3]], "sha256", cut);
        expect(content(parseSplitstream(bytes, "sha256", cut))).toEqual(
          content(parseSplitstream(write(pieces, [["name", 3]]), "sha256", zstd)),
        );
      }),
    );
  });

  test("is decompressed no further than to the first fault", () => {
    let asked = 0;
    const bomb = through(function* (data) {
      yield data;
      for (;;) {
        asked++;
        yield new Uint8Array(1 << 20);
      }
    });
    const bytes = write([{ fill: 1, size: 100 }, text("inline")], [], "sha256", bomb);
    const stream = parseSplitstream(bytes, "sha256", bomb);
    const { chunks, size } = stream;
    const read = () => {
      for (const _ of chunks()) if (asked > 0) throw new Error("went on");
    };
    expect(size).toBe(106);
    expect(read).toThrow("went on"); // zeros are references to the first object
    asked = 0;
    const damaged = Buffer.from(bytes);
    damaged.writeBigInt64LE(5n, bytes.length - 22);
    expect(() => [...parseSplitstream(damaged, "sha256", bomb).chunks()]).toThrow(/no object 5/);
    expect(asked).toBe(0);
  });

  test("gives a large inline chunk in parts, and never needs all of it at once", () => {
    const megabyte = new Uint8Array(1 << 20).fill(7);
    const head = Buffer.alloc(8);
    head.writeBigInt64LE(BigInt(-200 * megabyte.length));
    const bytes = write([megabyte.subarray(0, 100)]);
    const huge = through(function* () {
      yield head;
      for (let i = 0; i < 200; i++) yield megabyte;
    });
    const sized = Buffer.from(bytes);
    sized.writeBigUInt64LE(BigInt(200 * megabyte.length), HEADER + 72);
    let total = 0;
    for (const chunk of parseSplitstream(sized, "sha256", huge).chunks()) {
      if (chunk.type !== "inline") throw new Error("expected inline data");
      expect(chunk.data.length).toBeLessThanOrEqual(megabyte.length);
      total += chunk.data.length;
    }
    expect(total).toBe(200 * megabyte.length);
  });
});

describe("damaged input", () => {
  const good = write([text("header"), { fill: 7, size: 80 }, text("end")], [["layer", 4]]);
  const read = (bytes: Uint8Array) => content(parseSplitstream(bytes, "sha256", zstd));
  const edited = (offset: number, value: bigint) => {
    const bytes = Buffer.from(good);
    bytes.writeBigUInt64LE(value, offset);
    return bytes;
  };
  /** A stream with sections as given. */
  const built = (plain: { stream?: Uint8Array; names?: Uint8Array; size?: number }) => {
    const objects = digest("sha256", 7);
    const named = zstd.compress(plain.names ?? new Uint8Array(0));
    const stream = zstd.compress(plain.stream ?? new Uint8Array(0));
    const head = Buffer.from(write([]).subarray(0, HEADER + INFO));
    const sections = [objects, objects, named, stream];
    let at = HEADER + INFO;
    for (const [index, place] of [0, 16, 48, 32].entries()) {
      head.writeBigUInt64LE(BigInt(at), HEADER + place);
      at += sections[index]!.length;
      head.writeBigUInt64LE(BigInt(at), HEADER + place + 8);
    }
    head.writeBigUInt64LE(BigInt(plain.size ?? 100), HEADER + 72);
    return Buffer.concat([head, ...sections]);
  };
  const i64 = (...values: (number | bigint)[]) => {
    const out = Buffer.alloc(8 * values.length);
    for (const [i, value] of values.entries()) out.writeBigInt64LE(BigInt(value), 8 * i);
    return out;
  };

  test.each<[string, Uint8Array, RegExp]>([
    ["nothing", new Uint8Array(0), /not a splitstream: 0 bytes/],
    ["something else", Buffer.alloc(200, "x"), /no "SplitStream" at offset 0/],
    [
      "another version",
      Buffer.concat([good.subarray(0, 11), text("\x01"), good.subarray(12)]),
      /offset 11: version expected to be 0, is 1/,
    ],
    [
      "an info section outside",
      edited(24, 1n << 40n),
      /offset 16: info section at 32\.\.1099511627776 is not inside/,
    ],
    [
      "an info section that is too small",
      edited(24, 100n),
      /offset 16: info section of 68 bytes, at least 80/,
    ],
    [
      "a range that ends before it starts",
      edited(HEADER, 1n << 63n),
      /offset 32: stream references at 9223372036854775808/,
    ],
    [
      "half a digest",
      edited(HEADER + 24, BigInt(HEADER + INFO + 32 + 31)),
      /offset 48: object references of 31 bytes, not a multiple of 32/,
    ],
    [
      "an implausible size",
      edited(HEADER + 72, 1n << 63n),
      /offset 104: stream size of 9223372036854775808/,
    ],
    [
      "a chunk header that is cut off",
      built({ stream: i64(0).subarray(0, 7) }),
      /stream section, offset 0: stream ends inside a chunk header/,
    ],
    [
      "an object that is not there",
      built({ stream: i64(0, 1) }),
      /stream section, offset 8: no object 1, there are 1/,
    ],
    [
      "an object that is nowhere",
      built({ stream: i64(2n ** 63n - 1n) }),
      /no object 9223372036854775807/,
    ],
    [
      "a chunk that is cut off",
      built({ stream: i64(-9, 0) }),
      /offset 0: inline chunk of 9 bytes, 8 are left/,
    ],
    [
      "the smallest number",
      built({ stream: i64(-(2n ** 63n)) }),
      /inline chunk of 9223372036854775808 bytes/,
    ],
    [
      "more inline bytes than the stream has",
      built({ stream: i64(-8, 0), size: 7 }),
      /more inline bytes than the stream's size of 7/,
    ],
    ["a bomb", built({ stream: new Uint8Array(1 << 20), size: 3 }), /stream section: /],
    [
      "a name that is cut off",
      built({ names: text("0:a\x000:b") }),
      /named references, offset 4: record without its closing NUL/,
    ],
    ["a name without an index", built({ names: text("a:b\0") }), /record is not "<index>:<name>"/],
    ["a name without a colon", built({ names: text("0\0") }), /record is not "<index>:<name>"/],
    ["a name of no stream", built({ names: text("1:b\0") }), /no stream 1, there are 1/],
    [
      "a name that is not UTF-8",
      built({ names: Uint8Array.of(0x30, 0x3a, 0xff, 0) }),
      /record is not UTF-8/,
    ],
  ])("%s", (_, bytes, message) => {
    expect(() => {
      try {
        read(bytes);
      } catch (error) {
        const { message, cause } = error as Error;
        throw new Error(cause === undefined ? message : `${message}: ${(cause as Error).message}`);
      }
    }).toThrow(message);
  });

  test("the repository's hash must be the stream's", () => {
    expect(() => parseSplitstream(good, "sha512", zstd)).toThrow(/algorithm of sha512 expected/);
  });

  test("a repeated name counts as its last", () => {
    const bytes = built({ names: text("0:a\x000:a\0") });
    expect(parseSplitstream(bytes, "sha256", zstd).namedRefs().size).toBe(1);
  });

  test("any damage is an error or a stream, never a fault of the program", () => {
    const flips = fc.array(fc.tuple(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 })), {
      minLength: 1,
      maxLength: 6,
    });
    fc.assert(
      fc.property(flips, fc.option(fc.nat(good.length)), (flips, length) => {
        const bytes = good.slice(0, length ?? good.length);
        for (const [offset, mask] of flips) if (offset < bytes.length) bytes[offset]! ^= mask;
        try {
          read(bytes);
        } catch (error) {
          expect((error as Error).name).toBe("Error");
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe("the content type", () => {
  test("is in the first bytes, which need not be all", () => {
    const stream = write([text("x".repeat(5000)), { fill: 1, size: 100 }], [["name", 2]]);
    expect(contentTypeOf(stream)).toBe(CONTENT_TYPES["oci-layer"]);
    expect(contentTypeOf(stream.subarray(0, HEADER + INFO))).toBe(CONTENT_TYPES["oci-layer"]);
    expect(contentTypeOf(stream.subarray(0, HEADER + INFO - 17))).toBeUndefined();
  });

  test("of anything else is not known", () => {
    const stream = write([text("x")]);
    fc.assert(
      fc.property(fc.nat(200), fc.nat(200), fc.nat(255), (length, at, byte) => {
        const damaged = stream.slice(0, length);
        if (at < damaged.length) damaged[at] = byte;
        const type = contentTypeOf(damaged);
        expect(["bigint", "undefined"]).toContain(typeof type);
      }),
    );
    expect(contentTypeOf(text("no splitstream at all, but long enough"))).toBeUndefined();
  });
});
