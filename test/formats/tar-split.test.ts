import fc from "fast-check";
import { expect, test } from "vitest";
import { decodeBase64 } from "../../src/formats/base64.ts";
import { fromBytes, fromText, toText } from "../../src/formats/bytestring.ts";
import {
  MAX_TAR_SPLIT_LINE,
  type TarSplitEntry,
  TarSplitReader,
} from "../../src/formats/tar-split.ts";

function parse(...pieces: (string | Uint8Array)[]): TarSplitEntry[] {
  const reader = new TarSplitReader();
  const entries = pieces.flatMap((piece) => reader.push(new Uint8Array(Buffer.from(piece))));
  return [...entries, ...reader.end()];
}

/** A line as the Go package writes it. */
function line(entry: TarSplitEntry, position: number): string {
  if (entry.type === "segment")
    return `${JSON.stringify({ type: 2, payload: Buffer.from(entry.bytes).toString("base64"), position })}\n`;
  const text = toText(entry.name);
  const checksum = Buffer.alloc(8);
  if (entry.crc64 !== undefined) checksum.writeBigUInt64BE(entry.crc64);
  return `${JSON.stringify({
    type: 1,
    ...(text === undefined
      ? { name_raw: Buffer.from(entry.name, "latin1").toString("base64") }
      : { name: text }),
    ...(entry.size === 0 ? {} : { size: entry.size }),
    payload: entry.crc64 === undefined ? null : checksum.toString("base64"),
    position,
  })}\n`;
}

test("lines as they are written", () => {
  const entries = parse(
    '{"type":2,"payload":"AAEC","position":0}\n',
    '{"type":1,"name":"./etc/","payload":null,"position":1}\n',
    '{"type":1,"name":"\\u003cü\\u003e","size":3,"payload":"N3bEIAAAAAA=","position":2}\n',
    '{"type":1,"name_raw":"/w==","size":1,"payload":"NCAAAAAAAAA=","position":3}\n',
    '{"type":2,"payload":"","position":4}',
  );
  expect(entries).toEqual([
    { type: "segment", bytes: Uint8Array.of(0, 1, 2) },
    { type: "file", name: "./etc/", size: 0, crc64: undefined },
    { type: "file", name: fromText("<ü>"), size: 3, crc64: 0x3776c42000000000n },
    { type: "file", name: "\xff", size: 1, crc64: 0x3420000000000000n },
    { type: "segment", bytes: new Uint8Array(0) },
  ]);
});

const name = fc
  .uint8Array({ minLength: 1, maxLength: 12 })
  .map((bytes) => fromBytes(bytes.map((byte) => byte || 1)));
const crc64 = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n });
const entry: fc.Arbitrary<TarSplitEntry> = fc.oneof(
  fc.record({ type: fc.constant("segment" as const), bytes: fc.uint8Array({ maxLength: 600 }) }),
  fc.record({
    type: fc.constant("file" as const),
    name,
    size: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
    crc64,
  }),
  fc.record({
    type: fc.constant("file" as const),
    name,
    size: fc.constant(0),
    crc64: fc.option(crc64, { nil: undefined }),
  }),
);

test("what is written comes back, in pieces of any size", () => {
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 8 }), fc.integer({ min: 1, max: 99 }), (list, cut) => {
      const data = Buffer.from(list.map(line).join(""));
      const pieces: Uint8Array[] = [];
      for (let at = 0; at < data.length; at += cut) pieces.push(data.subarray(at, at + cut));
      expect(parse(...pieces)).toEqual(list);
    }),
  );
});

const GOOD = '{"type":2,"payload":"AAEC","position":0}\n';

test.each([
  ["\n", "line 2: expected JSON"],
  ["[]\n", "line 2: expected an object"],
  ['{"type":2,"payload":"\xff"}', "line 2: expected JSON in UTF-8"],
  ['{"type":2,"payload":', "line 2: expected JSON"],
  ['{"payload":""}\n', "line 2: type: expected a whole number, 0 or more"],
  ['{"type":3,"payload":""}\n', "line 2: type: expected 1 or 2, found 3"],
  ['{"type":2,"payload":"AAE"}\n', "line 2: payload: expected base64"],
  ['{"type":2,"payload":"AAF="}\n', "line 2: payload: expected base64"],
  ['{"type":2,"payload":"A*==" }\n', "line 2: payload: expected base64"],
  ['{"type":2,"payload":7}\n', "line 2: payload: expected a string"],
  ['{"type":1,"payload":null}\n', "line 2: name: expected a string, it is missing"],
  ['{"type":1,"name":"","payload":null}\n', "line 2: name: expected a name, it is empty"],
  ['{"type":1,"name":"a\\u0000","payload":null}\n', "line 2: name: expected a name without NUL"],
  ['{"type":1,"name":"a","name_raw":"YQ=="}\n', "line 2: name: expected one name"],
  ['{"type":1,"name":"a","size":-1}\n', "line 2: size: expected a whole number, 0 or more"],
  ['{"type":1,"name":"a","size":1}\n', "line 2: payload: expected a CRC-64 of 8 bytes, found 0"],
  ['{"type":1,"name":"a","payload":"AA=="}\n', "expected a CRC-64 of 8 bytes, found 1"],
])("refuses %j", (text, message) => {
  expect(() => parse(GOOD, Buffer.from(text, "latin1"))).toThrow(message);
});

test("a line without end is refused before it fills the memory", () => {
  const reader = new TarSplitReader();
  const piece = new Uint8Array(1 << 20).fill(0x20);
  const pieces = MAX_TAR_SPLIT_LINE / piece.length;
  for (let i = 0; i < pieces; i++) reader.push(piece);
  expect(() => reader.push(piece)).toThrow(`line 1: expected at most ${MAX_TAR_SPLIT_LINE} bytes`);
});

test("base64 is read as it is written, and in no other form", () => {
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      expect(decodeBase64(Buffer.from(bytes).toString("base64"))).toEqual(bytes);
    }),
  );
  fc.assert(
    fc.property(fc.base64String(), fc.string({ maxLength: 2 }), (text, more) => {
      const bytes = decodeBase64(text + more);
      if (bytes !== undefined) expect(Buffer.from(bytes).toString("base64")).toBe(text + more);
    }),
  );
});
