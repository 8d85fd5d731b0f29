import fc from "fast-check";
import { expect, test } from "vitest";
import { authenticodeInput, readCertificates } from "../../src/formats/authenticode.ts";
import {
  type ByteRange,
  lengthOf,
  readPieces,
  readRange,
  sourceOf,
} from "../../src/formats/byte-source.ts";
import { type PeImage, readPe } from "../../src/formats/pe.ts";
import { bootDigestRanges, readUki, ukiCmdline, ukiKind } from "../../src/formats/uki.ts";
import { type BuiltPe, pe } from "./pe-builder.ts";

const IMAGE: BuiltPe = {
  sections: [
    { name: ".text", data: "code" },
    { name: ".bss", virtualSize: 5000 },
    { name: ".cmdline", data: "quiet" },
    { name: ".linux", data: "k".repeat(600) },
  ],
  trailing: Buffer.from("more"),
  certificates: [{ type: 2, data: Buffer.from("signature") }],
};

const read = (built: BuiltPe) => readPe(sourceOf(pe(built)));
const content = ({ source }: PeImage, range: ByteRange) =>
  Buffer.from(readRange(source, range)).toString("latin1");

const anyBytes = fc.uint8Array({ maxLength: 1500 });
const anyPe: fc.Arbitrary<BuiltPe> = fc.record({
  format: fc.constantFrom("PE32", "PE32+"),
  machine: fc.nat(0xffff),
  subsystem: fc.nat(0xffff),
  sections: fc.array(
    fc.record({
      name: fc.string({ minLength: 1, maxLength: 8, unit: "grapheme-ascii" }),
      data: anyBytes,
      characteristics: fc.nat(0xffffffff),
    }),
    { minLength: 1, maxLength: 12 },
  ),
  directories: fc.nat(16),
  stub: fc.nat(200),
  checkSum: fc.nat(0xffffffff),
  fileAlignment: fc.constantFrom(32, 512, 4096),
  trailing: anyBytes,
});
const anySigned = fc.record({
  built: anyPe.map((one) => ({ ...one, directories: 16 })),
  certificates: fc.array(fc.record({ type: fc.nat(0xffff), data: anyBytes }), { maxLength: 3 }),
});

test("any image is read back", () => {
  fc.assert(
    fc.property(anyPe, (built) => {
      const image = read(built);
      const { format, machine, subsystem, checkSum, fileAlignment, directories } = built;
      expect(image).toMatchObject({ format, machine, subsystem, checkSum, fileAlignment });
      expect(image).toMatchObject({ imageBase: 0x400000, majorImageVersion: 6 });
      expect(image.directories).toHaveLength(directories!);
      expect(
        image.sections.map((one) => [one.name, content(image, one.content), one.characteristics]),
      ).toEqual(
        built.sections.map((one) => [
          one.name,
          Buffer.from(one.data!).toString("latin1"),
          one.characteristics,
        ]),
      );
    }),
  );
});

test("of a section counts what is loaded: neither its padding nor what follows it in the file", () => {
  const image = read({
    sections: [
      { name: "short", data: "content|padding", virtualSize: 7 },
      { name: "long", data: "x".repeat(512), virtualSize: 9000 },
      { name: "nothing", virtualSize: 10 },
    ],
  });
  expect(image.sections.map((one) => content(image, one.content))).toEqual([
    "content",
    "x".repeat(512),
    "",
  ]);
  expect(image.sections.map(({ raw }) => lengthOf(raw))).toEqual([512, 512, 0]);
});

test("a large image is not read for its headers", () => {
  const asked: number[] = [];
  const bytes = pe({ sections: [{ name: ".linux", data: Buffer.alloc(1 << 20) }] });
  const source = sourceOf(bytes);
  readPe({
    size: source.size,
    read: (range) => {
      asked.push(lengthOf(range));
      return source.read(range);
    },
  });
  expect(asked.reduce((sum, size) => sum + size)).toBeLessThan(500);
});

/** Offsets in `pe` of the PE header, the optional header, and the section table. */
const [PE, OPTIONAL, TABLE] = [64, 88, 328];

test.each<[string, (image: Buffer) => unknown, string]>([
  ["nothing", () => Buffer.alloc(0), "PE offset 0: the DOS header goes to 64; the file has 0 by"],
  ["no MZ", (image) => image.write("ZM"), 'PE offset 0: expected "MZ"'],
  [
    "a PE header in the DOS header",
    (image) => image.writeUInt32LE(32, 60),
    "PE offset 60: the PE header at 32; expected at least 64",
  ],
  [
    "a PE header behind the end",
    (image) => image.writeUInt32LE(2 ** 32 - 1, 60),
    "PE offset 4294967295: the PE header goes to 4294967319; the file has 2592 bytes",
  ],
  ["no PE", (image) => image.write("NE", PE), 'PE offset 64: expected "PE" and two zeros'],
  ["no sections", (image) => image.writeUInt16LE(0, PE + 6), "PE offset 70: there are no sections"],
  [
    "another optional header",
    (image) => image.writeUInt16LE(0x107, OPTIONAL),
    "PE offset 88: an optional header of type 0x107; expected 0x10b or 0x20b",
  ],
  [
    "no optional header",
    (image) => image.writeUInt16LE(0, PE + 20),
    "PE offset 88: an optional header of type 0x0; expected 0x10b or 0x20b",
  ],
  [
    "more directories than fit in it",
    (image) => image.writeUInt16LE(232, PE + 20),
    "PE offset 88: an optional header of 232 bytes, 16 data directories; expected 240 bytes",
  ],
  [
    "directories without number",
    (image) => image.writeUInt32LE(2 ** 32 - 1, OPTIONAL + 108),
    "PE offset 88: an optional header of 240 bytes, 4294967295 data directories; expected at most 16",
  ],
  [
    "more sections than headers",
    (image) => image.writeUInt16LE(65535, PE + 6),
    "PE offset 148: headers of 512 bytes; expected 2621728, where the section table ends, to 2592",
  ],
  [
    "headers behind the end",
    (image) => image.writeUInt32LE(2 ** 31, OPTIONAL + 60),
    "PE offset 148: headers of 2147483648 bytes; expected 488, where the section table ends, to 2592",
  ],
  [
    "data behind the end",
    (image) => image.writeUInt32LE(2600, TABLE + 80 + 20),
    'PE offset 408: the data of section ".cmdline" at 2600 to 3112; expected it in the file\'s 2592',
  ],
  [
    "memory behind the end",
    (image) => image.writeUInt32LE(2 ** 32 - 1, TABLE + 80 + 12),
    'PE offset 408: section ".cmdline" goes to 4294967300 in memory; expected at most',
  ],
  [
    "certificates behind the end",
    (image) => image.writeUInt32LE(25, OPTIONAL + 112 + 36),
    "PE offset 232: certificates at 2568 to 2593; expected them in the file's 2592 bytes",
  ],
])("an image is refused: %s", (_, change, message) => {
  const image = pe(IMAGE);
  const changed = change(image);
  const bytes = changed instanceof Buffer ? changed : image;
  expect(() => readPe(sourceOf(bytes))).toThrow(message);
});

/** All bytes but the fields that signing changes, the plain way. */
function withoutSignature(image: PeImage): Buffer {
  const end = image.certificates?.start ?? image.source.size;
  const bytes = Buffer.from(readRange(image.source, { start: 0, end }));
  const { checkSum, certificateDirectory } = image.fields;
  const second = certificateDirectory ?? { start: end, end };
  return Buffer.concat([
    bytes.subarray(0, checkSum.start),
    bytes.subarray(checkSum.end, second.start),
    bytes.subarray(second.end),
  ]);
}

const hashed = (image: PeImage) => {
  const { ranges, padding } = authenticodeInput(image);
  return Buffer.concat([...readPieces(image.source, ranges), Buffer.alloc(padding)]);
};

test("a signature is made over all but the checksum and itself", () => {
  fc.assert(
    fc.property(anyPe, (built) => {
      const image = read(built);
      const padding = -image.source.size & 7;
      const expected = Buffer.concat([withoutSignature(image), Buffer.alloc(padding)]);
      expect(hashed(image).equals(expected)).toBe(true);
    }),
  );
});

test("what is hashed is the same before and after signing", () => {
  fc.assert(
    fc.property(anySigned, ({ built, certificates }) => {
      const image = read({ ...built, checkSum: 7, certificates });
      expect(hashed(image).equals(hashed(read(built)))).toBe(true);
      expect(readCertificates(image).map((one) => [one.type, content(image, one.content)])).toEqual(
        certificates.map((one) => [one.type, Buffer.from(one.data).toString("latin1")]),
      );
    }),
  );
});

test("sections are hashed in the order in which they are in the file", () => {
  const bytes = pe({
    sections: [
      { name: "a", data: "first in the file" },
      { name: "b", data: "second in the file" },
    ],
  });
  const table = bytes.subarray(TABLE, TABLE + 80);
  Buffer.concat([table.subarray(40), table.subarray(0, 40)]).copy(table);
  const { ranges } = authenticodeInput(readPe(sourceOf(bytes)));
  expect(ranges.slice(-2)).toEqual([
    { start: 512, end: 1024 },
    { start: 1024, end: 1536 },
  ]);
});

test("a gap between sections is not hashed, but as much before the end twice", () => {
  const sections = [
    { name: "a", data: "a" },
    { name: "b", data: "b", gap: 100 },
  ];
  const { ranges } = authenticodeInput(read({ sections, trailing: Buffer.alloc(60) }));
  expect(ranges).toEqual([
    { start: 0, end: 152 },
    { start: 156, end: 232 },
    { start: 240, end: 512 },
    { start: 512, end: 1024 },
    { start: 1124, end: 1636 },
    { start: 1536, end: 1696 },
  ]);
});

test.each<[string, (image: Buffer) => unknown, string]>([
  [
    "sections on one another",
    (image) => image.writeUInt32LE(600, TABLE + 80 + 20),
    'PE offset 408: the data of section ".cmdline" at 600 to 1112; expected it in 1024 to 2568',
  ],
  [
    "sections on the headers",
    (image) => image.writeUInt32LE(0, TABLE + 20),
    'PE offset 328: the data of section ".text" at 0 to 512; expected it in 512 to 2568',
  ],
  [
    "sections on the certificates",
    (image) => image.writeUInt32LE(1056, TABLE + 120 + 16),
    'PE offset 448: the data of section ".linux" at 1536 to 2592; expected it in',
  ],
  [
    "certificates before the end",
    (image) => image.writeUInt32LE(16, OPTIONAL + 112 + 36),
    "PE offset 2568: certificates end at 2584; expected the end of the file, 2592",
  ],
])("no signature could be made over all: %s", (_, change, message) => {
  const bytes = pe(IMAGE);
  change(bytes);
  const image = readPe(sourceOf(bytes));
  expect(() => authenticodeInput(image)).toThrow(message);
});

test("certificates in the headers are refused", () => {
  const bytes = pe({ sections: [{ name: "empty" }] });
  bytes.writeUInt32LE(500, OPTIONAL + 112 + 32);
  bytes.writeUInt32LE(12, OPTIONAL + 112 + 36);
  const image = readPe(sourceOf(bytes));
  expect(() => authenticodeInput(image)).toThrow(
    "PE offset 500: certificates in the headers; expected them behind 512",
  );
});

test.each<[string, (image: Buffer) => unknown, string]>([
  [
    "without its own header",
    (image) => image.writeUInt32LE(7, 2568),
    "PE offset 2568: a certificate of 7 bytes; expected 8 to 24",
  ],
  [
    "larger than the table",
    (image) => image.writeUInt32LE(2 ** 32 - 1, 2568),
    "PE offset 2568: a certificate of 4294967295 bytes; expected 8 to 24",
  ],
  [
    "with something behind it",
    (image) => {
      image.writeUInt32LE(16, 2568);
      image.writeUInt32LE(20, OPTIONAL + 112 + 36);
    },
    "PE offset 2584: 4 bytes behind the certificates; expected another or nothing",
  ],
])("a certificate is refused: %s", (_, change, message) => {
  const bytes = pe(IMAGE);
  change(bytes);
  const image = readPe(sourceOf(bytes));
  expect(() => readCertificates(image)).toThrow(message);
});

test("a table of very many certificates is not read to its end", () => {
  const certificates = Array.from({ length: 101 }, () => ({ type: 2, data: Buffer.alloc(0) }));
  expect(() => readCertificates(read({ ...IMAGE, certificates }))).toThrow(
    /^PE offset \d+: another certificate; expected at most 100$/,
  );
});

test("an image that is cut off while it is read is an error", () => {
  const source = sourceOf(pe(IMAGE));
  const image = readPe({ ...source, size: source.size });
  const cut = {
    size: source.size,
    read: ({ start, end }: ByteRange) => source.read({ start, end: Math.min(end, 1000) }),
  };
  expect(() => [...readPieces(cut, authenticodeInput(image).ranges)]).toThrow(
    "offset 1000: the file has been cut off",
  );
});

const HOSTILE = [0, 1, 7, 0x7f, 0xff, 0x1000, 0x7fffffff, 0x80000000, 0xfffffff8, 0xffffffff];

test("whatever a field says, an image is read or refused at an offset, and nothing is outside of the file", () => {
  const good = pe(IMAGE);
  const end = TABLE + 40 * IMAGE.sections.length;
  const anyField = fc.record({
    at: fc.oneof(fc.nat(end - 4), fc.integer({ min: 2568, max: 2588 })),
    size: fc.constantFrom(1, 2, 4),
    value: fc.oneof(fc.constantFrom(...HOSTILE), fc.nat(good.length + 600)),
  });
  const inFile = ({ start, end }: ByteRange) => 0 <= start && start <= end && end <= good.length;
  const seen = { read: 0, refused: 0 };
  fc.assert(
    fc.property(fc.array(anyField, { minLength: 1, maxLength: 3 }), (fields) => {
      const bytes = Buffer.from(good);
      for (const { at, size, value } of fields) {
        bytes.writeUIntLE(value % 2 ** (8 * size), at, size);
      }
      let image: PeImage;
      try {
        image = readPe(sourceOf(bytes));
      } catch (error) {
        expect(String(error)).toMatch(/^Error: PE offset \d+: /);
        seen.refused++;
        return;
      }
      seen.read++;
      expect(
        image.sections.every(
          ({ raw, content }) =>
            inFile(raw) && inFile(content) && lengthOf(content) <= lengthOf(raw),
        ),
      ).toBe(true);
      const ranges = attempt(() => authenticodeInput(image).ranges) ?? [];
      expect(ranges.every(inFile)).toBe(true);
      // no more than there is, so that no image takes long
      const total = ranges.reduce((sum, range) => sum + lengthOf(range), 0);
      expect(total).toBeLessThan(good.length);
      for (const { content } of attempt(() => readCertificates(image)) ?? []) {
        expect(inFile(content)).toBe(true);
      }
      if (ukiKind(image) === undefined) return;
      attempt(() => {
        const uki = readUki(image);
        expect(bootDigestRanges(uki, { deviceTree: true }).every(inFile)).toBe(true);
        for (const profile of uki.profiles) ukiCmdline(uki, profile);
      });
    }),
    { numRuns: 1000 },
  );
  expect(seen.read).toBeGreaterThan(30);
  expect(seen.refused).toBeGreaterThan(30);
});

/** What it gives, or nothing where it is refused as it ought to be. */
function attempt<T>(what: () => T): T | undefined {
  try {
    return what();
  } catch (error) {
    expect(String(error)).toMatch(/^Error: PE offset \d+: /);
    return undefined;
  }
}
