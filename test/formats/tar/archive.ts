/** Makes archives by hand, also broken ones, and takes them apart. */
import { createHash } from "node:crypto";
import { type ByteString, fromBytes } from "../../../src/formats/bytestring.ts";
import type { Chunk } from "../../../src/formats/splitstream.ts";
import { readEntries, type TarEntry } from "../../../src/formats/tar/entries.ts";
import { BLOCK_SIZE, TAR_HEADER, TAR_MAGIC } from "../../../src/formats/tar/header.ts";
import { TarSplitter } from "../../../src/formats/tar/splitter.ts";

type Field = keyof typeof TAR_HEADER;
type Value = string | number | Uint8Array;

export const latin1 = (text: string) => Uint8Array.from(Buffer.from(text, "latin1"));
export const concat = (...parts: Uint8Array[]) => Uint8Array.from(Buffer.concat(parts));

const DEFAULTS: Partial<Record<Field, Value>> = {
  name: "file",
  mode: 0o644,
  uid: 0,
  gid: 0,
  size: 0,
  mtime: 0,
  type: "0",
  magic: TAR_MAGIC.ustar,
  devMajor: 0,
  devMinor: 0,
};

/** A header block. Numbers are written as octal, strings byte by byte. */
export function header(fields: Partial<Record<Field, Value>>): Uint8Array {
  const block = new Uint8Array(BLOCK_SIZE);
  const put = (field: Field, value: Value) => {
    const [start, size] = TAR_HEADER[field];
    if (typeof value === "number") {
      block.set(latin1(value.toString(8).padStart(size - 1, "0")), start);
    } else {
      block.set(typeof value === "string" ? latin1(value) : value, start);
    }
  };
  for (const [field, value] of Object.entries({ ...DEFAULTS, ...fields })) {
    put(field as Field, value);
  }
  if (fields.checksum === undefined) put("checksum", "        ");
  if (fields.checksum === undefined)
    put(
      "checksum",
      block.reduce((sum, byte) => sum + byte, 0),
    );
  return block;
}

export function padded(body: Uint8Array): Uint8Array {
  return concat(body, new Uint8Array((BLOCK_SIZE - (body.length % BLOCK_SIZE)) % BLOCK_SIZE));
}

/** A header block and its body; the size follows from the body unless it is given. */
export function member(
  fields: Partial<Record<Field, Value>>,
  body: Uint8Array | string = "",
): Uint8Array {
  const bytes = typeof body === "string" ? latin1(body) : body;
  return concat(header({ size: bytes.length, ...fields }), padded(bytes));
}

/** A record of an extended header. */
export function record(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  let length = rest.length + 1;
  while (`${length}${rest}`.length !== length) length++;
  return `${length}${rest}`;
}

/** An extended header. Keys and values are given byte by byte. */
export function pax(records: Record<string, string> | string, type = "x"): Uint8Array {
  const body =
    typeof records === "string"
      ? records
      : Object.entries(records)
          .map(([key, value]) => record(key, value))
          .join("");
  return member({ type, name: "PaxHeaders/file" }, body);
}

export const longName = (name: string, type = "L") =>
  member({ type, name: "././@LongLink", magic: TAR_MAGIC.gnu }, name);

export const END = new Uint8Array(2 * BLOCK_SIZE);

/** An archive, taken apart: pieces as they go into a splitstream (inline ones merged), and the objects. */
export interface Split {
  readonly chunks: Chunk[];
  readonly objects: Map<ByteString, Uint8Array>;
}

/** Splits `bytes`, pushed in pieces of these sizes (the last one repeats). */
export function split(bytes: Uint8Array, sizes: readonly number[] = [1 << 16]): Split {
  const chunks: Chunk[] = [];
  const objects = new Map<ByteString, Uint8Array>();
  let inline: Uint8Array[] = [];
  let body: Uint8Array[] | undefined;
  let expected = 0;
  const flush = () => {
    if (inline.length > 0) chunks.push({ type: "inline", data: concat(...inline) });
    inline = [];
  };
  const splitter = new TarSplitter({
    inline: (data) => {
      if (body !== undefined) throw new Error("inline bytes inside of an external body");
      if (data.length === 0) throw new Error("empty inline bytes");
      inline.push(Buffer.from(data));
    },
    beginExternal: (size) => {
      flush();
      body = [];
      expected = size;
    },
    externalData: (data) => body!.push(Buffer.from(data)),
    endExternal: () => {
      const content = concat(...body!);
      if (content.length !== expected) throw new Error("external body of another size");
      const digest = Uint8Array.from(createHash("sha256").update(content).digest());
      objects.set(fromBytes(digest), content);
      chunks.push({ type: "external", digest });
      body = undefined;
    },
  });
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = sizes[Math.min(i, sizes.length - 1)]!;
    // A buffer that is overwritten after the call, as a stream's may be. (A `Buffer` shares memory where others copy.)
    const piece = Buffer.from(bytes.subarray(at, at + size));
    splitter.push(piece);
    piece.fill(0xaa);
    at += size;
  }
  splitter.end();
  flush();
  return { chunks, objects };
}

/** What a splitstream's reader puts together again. */
export function reassemble({ chunks, objects }: Split): Uint8Array {
  return concat(
    ...chunks.map((chunk) =>
      chunk.type === "inline" ? chunk.data : objects.get(fromBytes(chunk.digest))!,
    ),
  );
}

/** The entries of an archive, by way of its splitstream. */
export function entriesOf(bytes: Uint8Array): TarEntry[] {
  return [...readEntries(split(bytes).chunks)];
}
