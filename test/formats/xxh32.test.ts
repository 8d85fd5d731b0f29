import { expect, test } from "vitest";
import { ascii, type ByteString } from "../../src/formats/bytestring.ts";
import { xxh32 } from "../../src/formats/xxh32.ts";

const allBytes = String.fromCharCode(...Array.from({ length: 256 }, (_, i) => i)) as ByteString;

// values of another implementation
test.each([
  [ascii(""), 0, 0x02cc5d05],
  [ascii("a"), 0, 0x550d7456],
  [ascii("abcd"), 0, 0xa3643705],
  [ascii("abcde"), 0, 0x9738f19b],
  [ascii("0123456789abcdef"), 0, 0xc2c45b69],
  [ascii("0123456789abcdef0123"), 0, 0x6350964e],
  [allBytes, 0, 0x59441253],
  [ascii(""), 0x25bbe093, 0x5571632c],
  [ascii("overlay.metacopy"), 0x25bbe093, 0xdbe5e05f],
])("%j with seed %d", (data, seed, hash) => {
  expect(xxh32(data, seed)).toBe(hash);
});
