import fc from "fast-check";
import { expect, test } from "vitest";
import { type CpioEntry, CpioScanner } from "../../src/formats/cpio.ts";
import { cpio } from "./cpio-archive.ts";

/** Reads data in pieces of this size; what is not taken is the rest. */
function scan(data: Uint8Array, piece = data.length || 1) {
  const entries: CpioEntry[] = [];
  const scanner = new CpioScanner((entry) => entries.push(entry));
  for (let at = 0; at < data.length; at += piece) {
    const part = data.subarray(at, at + piece);
    const taken = scanner.push(part);
    if (taken < part.length) return { entries, rest: data.subarray(at + taken) };
  }
  scanner.end();
  return { entries, rest: new Uint8Array(0) };
}

const FILES = [
  { name: "usr", mode: 0o40755 },
  { name: "usr/a", data: "content" },
  { name: "lib", mode: 0o120777, data: "usr/lib" },
  { name: "./four", data: "1234", padName: 9 },
];

test("entries have their names, modes, sizes and targets, wherever the data is cut", () => {
  const data = cpio(FILES);
  for (const piece of [data.length, 1, 3, 110, 128]) {
    const { entries } = scan(data, piece);
    expect(entries.map(({ name, mode, size, target }) => [name, mode, size, target])).toEqual([
      ["usr", 0o40755, 0, undefined],
      ["usr/a", 0o100644, 7, undefined],
      ["lib", 0o120777, 7, "usr/lib"],
      ["./four", 0o100644, 4, undefined],
    ]);
    expect(entries.map(({ offset }) => data.toString("latin1", offset, offset + 6))).toEqual(
      FILES.map(() => "070701"),
    );
  }
});

test("archives follow one another with zeros between them, also those with checksums", () => {
  const data = Buffer.concat([
    cpio(FILES),
    Buffer.alloc(512),
    cpio(FILES, "070702"),
    Buffer.alloc(6),
  ]);
  expect(scan(data).entries).toHaveLength(2 * FILES.length);
});

test("what follows an archive is left to others", () => {
  const { rest } = scan(Buffer.concat([cpio(FILES), Buffer.from([0x1f, 0x8b, 8])]));
  expect([...rest]).toEqual([0x1f, 0x8b, 8]);
});

test.each<[string, (data: Buffer) => Buffer, RegExp]>([
  ["cut off in data", (data) => data.subarray(0, 241), /^cpio offset 241: the archive is cut off$/],
  [
    "without a trailer",
    (data) => data.subarray(0, data.length - 124),
    /: the archive ends without TRAILER/,
  ],
  ["another magic", (data) => set(data, 0, "070707"), /^cpio offset 0: magic "070707", expected/],
  [
    "no number",
    (data) => set(data, 54, "0000000 "),
    /^cpio offset 0: filesize is "0000000 ", expected/,
  ],
  ["no name", (data) => set(data, 94, "00000000"), /^cpio offset 0: a name of 0 bytes/],
  ["a long name", (data) => set(data, 94, "00001001"), /^cpio offset 0: a name of 4097 bytes/],
  ["a name without end", (data) => set(data, 110, "usrx"), /^cpio offset 0: a name without a zero/],
])("an archive is refused: %s", (_, change, message) => {
  expect(() => scan(change(cpio(FILES)))).toThrow(message);
});

test("a symlink longer than a path is refused", () => {
  const data = cpio([{ name: "l", mode: 0o120777, data: "x".repeat(4097) }]);
  expect(() => scan(data)).toThrow("cpio offset 0: a symlink of 4097 bytes, expected at most 4096");
});

function set(data: Buffer, at: number, text: string): Buffer {
  data.write(text, at);
  return data;
}

test("any names and contents are read back", () => {
  const name = fc
    .string({ minLength: 1, maxLength: 60, unit: "grapheme-ascii" })
    .filter((one) => one !== "TRAILER!!!");
  const file = fc.record({ name, data: fc.string({ unit: "grapheme-ascii" }), padName: fc.nat(5) });
  fc.assert(
    fc.property(fc.array(file), fc.integer({ min: 1, max: 300 }), (files, piece) => {
      const { entries } = scan(cpio(files), piece);
      expect(entries.map((one) => [one.name, one.size])).toEqual(
        files.map((one) => [one.name, one.data.length]),
      );
    }),
  );
});
