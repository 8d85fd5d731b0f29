import { describe, expect, test } from "vitest";
import {
  CHUNKED_ANNOTATIONS,
  OLD_CHUNKED_ANNOTATIONS,
  parseChunkedAnnotations,
  parseChunkedToc,
} from "../../src/formats/zstd-chunked.ts";

const DIGEST = `sha256:${"ab".repeat(32)}`;
const SPLIT_DIGEST = `sha256:${"cd".repeat(32)}`;
const { tocDigest, tocPosition, tarSplitPosition, tarSplitDigest } = CHUNKED_ANNOTATIONS;
const good = { [tocDigest]: DIGEST, [tocPosition]: "1008:50:400:1" };

describe("annotations", () => {
  test("of a layer that is not zstd:chunked", () => {
    expect(parseChunkedAnnotations({ "org.example": "x" }, 2000)).toBeUndefined();
  });

  test("with and without a tar-split", () => {
    const toc = { start: 1008, end: 1058, size: 400, digest: DIGEST };
    const data = { start: 0, end: 1000 };
    expect(parseChunkedAnnotations(good, 2000)).toEqual({ data, toc, tarSplit: undefined });
    const split = { start: 1066, end: 1166, size: 900, digest: undefined };
    expect(parseChunkedAnnotations({ ...good, [tarSplitPosition]: "1066:100:900" }, 2000)).toEqual({
      data,
      toc,
      tarSplit: split,
    });
    const old = { ...good, [tarSplitPosition]: "1066:100:900", [tarSplitDigest]: SPLIT_DIGEST };
    expect(parseChunkedAnnotations(old, 2000)?.tarSplit?.digest).toBe(SPLIT_DIGEST);
  });

  test("as they were called at first", () => {
    const old = {
      [OLD_CHUNKED_ANNOTATIONS.tocDigest]: DIGEST,
      [OLD_CHUNKED_ANNOTATIONS.tocPosition]: "1008:50:400:1",
    };
    expect(parseChunkedAnnotations(old, 2000)).toEqual(parseChunkedAnnotations(good, 2000));
  });

  test("the archive ends before whichever comes first", () => {
    const layout = parseChunkedAnnotations({ ...good, [tarSplitPosition]: "108:100:900" }, 2000);
    expect(layout?.data).toEqual({ start: 0, end: 100 });
  });

  test.each([
    [{ [tocDigest]: "md5:x" }, `${tocDigest}: "md5:x"; expected sha256:`],
    [{ [tocPosition]: "" }, `${tocPosition}: ""; expected 4 numbers`],
    [{ [tocPosition]: "1:2:3" }, "expected 4 numbers"],
    [{ [tocPosition]: "-1:2:3:1" }, "expected 4 numbers"],
    [{ [tocPosition]: `${"9".repeat(20)}:2:3:1` }, "expected 4 numbers"],
    [{ [tocPosition]: "1008:50:400:2" }, "type 2; expected 1"],
    [{ [tocPosition]: "1990:50:400:1" }, "bytes 1990 to 2040 of a blob of 2000 bytes"],
    [{ [tocPosition]: "4:50:400:1" }, "bytes 4 to 54"],
    [{ [tocPosition]: "1008:0:400:1" }, "bytes 1008 to 1008"],
    [{ [tocPosition]: "1008:1:40000:1" }, "1 bytes of zstd that shall give 40000"],
    [{ [tocPosition]: "1008:900:29000000:1" }, undefined],
    [{ [tarSplitPosition]: "1:2" }, `${tarSplitPosition}: "1:2"; expected 3 numbers`],
    [{ [tarSplitPosition]: "1066:9999:1" }, "of a blob of 2000 bytes"],
    [{ [tarSplitPosition]: "1066:9:1", [tarSplitDigest]: "x" }, `${tarSplitDigest}: "x"`],
  ])("%j", (changes, why) => {
    const parse = () => parseChunkedAnnotations({ ...good, ...changes }, 2000);
    if (why === undefined) parse();
    else expect(parse).toThrow(why);
  });

  test("tables that are too large to be held", () => {
    for (const sizes of ["50000000:1", "50000:50000000"]) {
      const huge = { ...good, [tocPosition]: `1008:${sizes}:1` };
      expect(() => parseChunkedAnnotations(huge, 1e9)).toThrow(
        `${tocPosition}: 50000000 bytes; expected at most`,
      );
    }
    const split = { ...good, [tarSplitPosition]: "1066:50000000:1" };
    expect(() => parseChunkedAnnotations(split, 1e9)).toThrow(
      `${tarSplitPosition}: 50000000 bytes`,
    );
  });
});

const DATA = { start: 0, end: 1000 };
const reg = (name: string, more: object = {}) => ({
  type: "reg",
  name,
  size: 100,
  digest: DIGEST,
  offset: 50,
  endOffset: 90,
  ...more,
});
const parse = (entries: object[], more: object = {}) =>
  parseChunkedToc(Buffer.from(JSON.stringify({ version: 1, entries, ...more })), DATA);

describe("table of contents", () => {
  test("what has no content is left out; files are in the order of the archive", () => {
    const toc = parse(
      [
        { type: "dir", name: "usr/" },
        reg("usr/b", { offset: 200, endOffset: 300 }),
        { type: "hardlink", name: "usr/c", linkName: "usr/b", size: 7 },
        { type: "reg", name: "usr/empty" },
        reg("usr/a"),
      ],
      { tarSplitDigest: SPLIT_DIGEST },
    );
    expect(toc.files.map(({ name }) => name)).toEqual(["usr/a", "usr/b"]);
    expect(toc.files[0]).toEqual({
      name: "usr/a",
      size: 100,
      digest: DIGEST,
      start: 50,
      end: 90,
      parts: [{ type: "frames", size: 100, start: 50, end: 90 }],
    });
    expect(toc.tarSplitDigest).toBe(SPLIT_DIGEST);
  });

  test("adjacent chunks are one part; holes are not fetched", () => {
    const chunk = { type: "chunk", name: "big" };
    const { files } = parse([
      reg("big", { endOffset: 95, chunkSize: 20 }),
      { ...chunk, offset: 60, chunkOffset: 20, chunkSize: 30 },
      { ...chunk, offset: 70, chunkOffset: 50, chunkSize: 40, chunkType: "zeros" },
      { ...chunk, offset: 80, chunkOffset: 90 },
    ]);
    expect(files[0]?.parts).toEqual([
      { type: "frames", size: 50, start: 50, end: 70 },
      { type: "zeros", size: 40 },
      { type: "frames", size: 10, start: 80, end: 95 },
    ]);
  });

  test.each([
    ["overlap", [reg("a"), reg("b", { offset: 80, endOffset: 120 })], '"b": bytes 80 to 120'],
    ["past the end", [reg("a", { endOffset: 1001 })], '"a": bytes 50 to 1001'],
    ["backwards", [reg("a", { endOffset: 50 })], "chunk 1: bytes 50 to 50"],
    ["no digest", [reg("a", { digest: undefined })], "entries[0]: digest: expected a string"],
    ["bad digest", [reg("a", { digest: "sha256:0" })], 'entries[0]: digest: "sha256:0"'],
    ["no place", [reg("a", { offset: undefined })], "entries[0]: offset: expected a whole number"],
    ["too much", [reg("a", { size: 1e12 })], "40 bytes of zstd that shall give 1000000000000"],
    [
      "hole of nothing",
      [reg("a", { size: 2e9, chunkType: "zeros" })],
      "40 bytes of zstd that shall give 2000000000",
    ],
    ["negative", [reg("a", { size: -1 })], "entries[0]: size: expected a whole number, 0 or more"],
    ["chunk first", [{ type: "chunk", name: "a", offset: 1 }], "entries[0]: a chunk of no file"],
    [
      "another's chunk",
      [reg("a"), { type: "chunk", name: "b", offset: 60 }],
      "entries[1]: a chunk of no file",
    ],
    [
      "gap between chunks",
      [reg("a", { chunkSize: 20 }), { type: "chunk", name: "a", offset: 60, chunkOffset: 30 }],
      'entries[0]: "a", chunk 1: 20 bytes at 0 of 100',
    ],
    [
      "chunks out of order",
      [reg("a"), { type: "chunk", name: "a", offset: 40, chunkOffset: 30 }],
      "chunk 1: bytes 50 to 40",
    ],
    [
      "chunk beyond the file",
      [reg("a"), { type: "chunk", name: "a", offset: 60, chunkOffset: 130 }],
      '"a", chunk 2',
    ],
    ["kind of chunk", [reg("a", { chunkType: "ones" })], 'chunkType: expected "zeros" or nothing'],
    ["no type", [{ name: "a" }], "entries[0]: type: expected a string"],
  ])("%s", (_, entries, why) => {
    expect(() => parse(entries)).toThrow(why);
  });

  test("another version, and what is no table", () => {
    expect(() => parse([], { version: 2 })).toThrow("version: 2; expected 1");
    expect(() => parse([], { tarSplitDigest: "x" })).toThrow('tarSplitDigest: "x"');
    expect(() => parseChunkedToc(Buffer.from("[]"), DATA)).toThrow("expected an object");
    expect(() => parseChunkedToc(Buffer.from('{"version":1}'), DATA)).toThrow("expected a list");
  });
});
