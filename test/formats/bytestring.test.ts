import fc from "fast-check";
import { expect, test } from "vitest";
import { fromBytes, fromText, toText } from "../../src/formats/bytestring.ts";

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function decoded(bytes: Uint8Array): string | undefined {
  try {
    return utf8.decode(bytes);
  } catch {
    return undefined;
  }
}

test("bytes are text if they are UTF-8, and only then", () => {
  const pieces = fc.array(
    fc.oneof(
      fc.string({ unit: "binary" }).map((text) => new TextEncoder().encode(text)),
      fc.uint8Array({ maxLength: 4 }),
    ),
    { maxLength: 6 },
  );
  fc.assert(
    fc.property(pieces, (list) => {
      const bytes = Buffer.concat(list);
      const text = toText(fromBytes(bytes));
      expect(text).toBe(decoded(bytes));
      if (text !== undefined) expect(fromText(text)).toBe(fromBytes(bytes));
    }),
    { numRuns: 1000 },
  );
});
