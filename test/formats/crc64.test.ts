import fc from "fast-check";
import { expect, test } from "vitest";
import { Crc64, formatCrc64 } from "../../src/formats/crc64.ts";

const crc = (...pieces: Uint8Array[]) => {
  const crc64 = new Crc64();
  for (const piece of pieces) crc64.update(piece);
  return crc64.value;
};

// values of Go's hash/crc64, table ISO
test.each([
  ["", "0000000000000000"],
  ["a", "3420000000000000"],
  ["ab", "36c4200000000000"],
  ["abc", "3776c42000000000"],
  ["abcdefghij", "7f5b6e21b002d367"],
  ["123456789", "b90956c775a41001"],
  ["Discard medicine more than two years old.", "8ec0e7c835bf9cdf"],
])("of %j", (text, value) => {
  expect(formatCrc64(crc(Buffer.from(text)))).toBe(value);
});

/** Bit by bit, as it is defined. */
function slow(data: Uint8Array): bigint {
  const ones = (1n << 64n) - 1n;
  let value = ones;
  for (const byte of data) {
    value ^= BigInt(byte);
    for (let bit = 0; bit < 8; bit++)
      value = (value >> 1n) ^ ((value & 1n) === 0n ? 0n : 0xd800000000000000n);
  }
  return value ^ ones;
}

test("any bytes, in pieces of any size", () => {
  const pieces = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 8 });
  fc.assert(
    fc.property(pieces, (list) => {
      expect(crc(...list)).toBe(slow(new Uint8Array(Buffer.concat(list))));
    }),
  );
});
