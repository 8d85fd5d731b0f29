import fc from "fast-check";
import { expect, test } from "vitest";
import {
  type ArchivePiece,
  encodePieces,
  PieceReader,
} from "../../userspace/oci/archive-pieces.ts";

const object = fc.record({
  digest: fc.uint8Array({ minLength: 32, maxLength: 32 }),
  size: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
});
const pieces = fc.array(fc.oneof(fc.uint8Array({ maxLength: 100 }), object), { maxLength: 20 });

/** Bytes together, however they were cut. */
function joined(list: readonly ArchivePiece[]): unknown[] {
  const out: ({ bytes: number[] } | { digest: number[]; size: number })[] = [];
  for (const piece of list) {
    const last = out.at(-1);
    if (!(piece instanceof Uint8Array)) out.push({ digest: [...piece.digest], size: piece.size });
    else if (last !== undefined && "bytes" in last) last.bytes.push(...piece);
    else if (piece.length > 0) out.push({ bytes: [...piece] });
  }
  return out;
}

async function encoded(list: readonly ArchivePiece[]): Promise<Buffer> {
  const out: Uint8Array[] = [];
  const source = async function* () {
    yield* list;
  };
  for await (const bytes of encodePieces(source())) out.push(bytes);
  return Buffer.concat(out);
}

test("pieces come out as they went in, wherever the stream is cut", async () => {
  await fc.assert(
    fc.asyncProperty(pieces, fc.integer({ min: 1, max: 50 }), async (list, cut) => {
      const bytes = await encoded(list);
      const reader = new PieceReader("sha256");
      const out: ArchivePiece[] = [];
      for (let at = 0; at < bytes.length; at += cut)
        out.push(...reader.push(bytes.subarray(at, at + cut)));
      reader.end();
      expect(joined(out)).toEqual(joined(list));
    }),
  );
});

test.each([1, 8, 9, 30, 47])("a stream that ends after %d bytes is not whole", async (length) => {
  const bytes = await encoded([new Uint8Array(3), { digest: new Uint8Array(32), size: 7 }]);
  expect(bytes).toHaveLength(8 + 3 + 8 + 32);
  const reader = new PieceReader("sha256");
  reader.push(bytes.subarray(0, length));
  expect(() => reader.end()).toThrow("ends inside a piece");
});
