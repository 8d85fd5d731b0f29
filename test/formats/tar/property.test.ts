import fc from "fast-check";
import { expect, test } from "vitest";
import type { Chunk } from "../../../src/formats/splitstream.ts";
import { readEntries } from "../../../src/formats/tar/entries.ts";
import {
  concat,
  END,
  entriesOf,
  header,
  latin1,
  longName,
  member,
  pax,
  reassemble,
  split,
} from "./archive.ts";

const name = fc.string({
  minLength: 1,
  maxLength: 80,
  unit: fc.integer({ min: 1, max: 255 }).map((byte) => String.fromCharCode(byte)),
});
const extension = fc.oneof(
  name.map((path) => pax({ path })),
  fc.tuple(name, name).map(([key, value]) => pax({ [`SCHILY.xattr.user.${key}`]: value })),
  name.map((path) => longName(`${path}\0`)),
  name.map((comment) => pax({ comment }, "g")),
);
// Keys that are not UTF-8 are refused.
const ascii = /^[\x00-\x7f]*$/;
const blocks = fc.oneof(
  fc
    .tuple(name, fc.uint8Array({ maxLength: 1500 }))
    .map(([path, body]) => member({ name: path }, body)),
  name.map((path) => header({ name: path, type: "5" })),
  fc.tuple(name, name).map(([path, to]) => header({ name: path, linkName: to, type: "2" })),
);
const archive = fc
  .tuple(
    fc.array(fc.tuple(fc.option(extension, { nil: new Uint8Array(0) }), blocks), { maxLength: 12 }),
    fc.constantFrom(new Uint8Array(0), END, new Uint8Array(10240)),
  )
  .map(([members, end]) => concat(...members.flat(), end))
  .filter((bytes) => !/SCHILY/.test(String.fromCharCode(...bytes)) || ascii.test(keysOf(bytes)));

function keysOf(bytes: Uint8Array): string {
  return [
    ...Buffer.from(bytes)
      .toString("latin1")
      .matchAll(/SCHILY[^=]*=/g),
  ].join("");
}

const sizes = fc.array(fc.integer({ min: 1, max: 2000 }), { minLength: 1, maxLength: 8 });

test("pieces of any size give the same splitstream, and back the same archive", () => {
  fc.assert(
    fc.property(archive, sizes, (bytes, pieces) => {
      const whole = split(bytes, [bytes.length + 1]);
      expect(split(bytes, pieces)).toEqual(whole);
      expect(reassemble(whole)).toEqual(bytes);
    }),
    { numRuns: 150 },
  );
});

test("how inline data is cut into chunks does not matter to a reader", () => {
  fc.assert(
    fc.property(archive, fc.integer({ min: 1, max: 700 }), (bytes, size) => {
      const { chunks } = split(bytes);
      const cut = chunks.flatMap((chunk): Chunk[] => {
        if (chunk.type === "external") return [chunk];
        const out: Chunk[] = [];
        for (let at = 0; at < chunk.data.length; at += size) {
          out.push({ type: "inline", data: chunk.data.subarray(at, at + size) });
        }
        return out;
      });
      expect([...readEntries(cut)]).toEqual(entriesOf(bytes));
    }),
    { numRuns: 100 },
  );
});

test("a damaged archive is an error that names an offset, or an archive", () => {
  const outcome = (bytes: Uint8Array) => {
    try {
      entriesOf(bytes);
    } catch (error) {
      expect((error as Error).message).toMatch(/^tar offset \d+: /);
    }
  };
  fc.assert(
    fc.property(
      archive,
      fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 4 }),
      fc.nat(),
      (bytes, changes, length) => {
        for (const [at, byte] of changes) if (bytes.length > 0) bytes[at % bytes.length] = byte;
        outcome(bytes.subarray(0, length % 3 === 0 ? length % (bytes.length + 1) : undefined));
      },
    ),
    { numRuns: 300 },
  );
  // Damage behind a right checksum.
  const field = fc.constantFrom("mode", "uid", "size", "mtime", "type", "magic", "devMajor");
  fc.assert(
    fc.property(field, name, fc.uint8Array({ maxLength: 1200 }), (key, value, body) => {
      const fields = { [key]: latin1(value.slice(0, key === "type" ? 1 : 8)) };
      outcome(concat(member(fields, body), END));
      outcome(concat(member({ type: "x" }, body), header({}), END));
    }),
    { numRuns: 300 },
  );
});
