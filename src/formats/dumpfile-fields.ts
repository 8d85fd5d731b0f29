/** Fields of a dump file's lines (composefs-dump(5)): escapes, numbers and file types, both ways. */
import { type ByteString, display } from "./bytestring.ts";
import type { LeafContent } from "./tree.ts";

/** The fields of a line, in order. Those that follow are xattrs. */
export const FIELDS = [
  "PATH",
  "SIZE",
  "MODE",
  "NLINK",
  "UID",
  "GID",
  "RDEV",
  "MTIME",
  "PAYLOAD",
  "CONTENT",
  "DIGEST",
] as const;
export type Field = (typeof FIELDS)[number];
/** A field's place in the line. */
export const AT = Object.fromEntries(FIELDS.map((name, index) => [name, index])) as Record<
  Field,
  number
>;

/** `st_mode` type bits. */
export const S_IFMT = 0o170000;
export const S_IFDIR = 0o040000;
export const TYPE_BITS = {
  inline: 0o100000,
  external: 0o100000,
  sparse: 0o100000,
  symlink: 0o120000,
  chardev: 0o020000,
  blockdev: 0o060000,
  fifo: 0o010000,
  socket: 0o140000,
} as const satisfies Record<LeafContent["type"], number>;

const UNESCAPED: Readonly<Record<string, string>> = { "\\": "\\", n: "\n", r: "\r", t: "\t" };
const ESCAPED: Readonly<Record<string, string>> = {
  "\\": "\\\\",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
};

const MAX_U64 = 2n ** 64n - 1n;
const SHOWN = 60;
const MAX_XATTR_KEY = 255;
const MAX_XATTR_VALUE = 65535;

/** Puts the name of what is parsed before its errors. */
export function inField<T>(name: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw new Error(name, { cause: error });
  }
}

/** A field that an error is about, for the message. */
export function quote(field: string): string {
  const shown = display(field as ByteString);
  return shown.length > SHOWN ? `"${shown.slice(0, SHOWN)}…"` : `"${shown}"`;
}

/** The bytes that an escaped field stands for. */
export function unescapeField(field: string): ByteString {
  let at = field.indexOf("\\");
  if (at < 0) return field as ByteString;
  let out = "";
  let start = 0;
  for (; at >= 0; at = field.indexOf("\\", start)) {
    out += field.slice(start, at);
    const kind = field[at + 1] ?? "";
    const plain = UNESCAPED[kind];
    if (plain !== undefined) {
      out += plain;
      start = at + 2;
      continue;
    }
    const hex = field.slice(at + 2, at + 4);
    if (kind !== "x" || !/^[0-9a-fA-F]{2}$/.test(hex)) {
      throw new Error(
        `bad escape ${quote(field.slice(at, at + 4))}, expected \\\\, \\n, \\r, \\t or \\xHH`,
      );
    }
    out += String.fromCharCode(Number.parseInt(hex, 16));
    start = at + 4;
  }
  return (out + field.slice(start)) as ByteString;
}

function escapeMatching(bytes: ByteString, special: RegExp): string {
  return bytes.replace(
    special,
    (char) => ESCAPED[char] ?? `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`,
  );
}

/** Bytes as a path or as the key or value of an xattr, where `=` may be special and nothing is written as nothing. */
export function escapeField(bytes: ByteString, equals: "plain" | "escaped"): string {
  return escapeMatching(bytes, equals === "plain" ? /[^!-[\]-~]/g : /[^!-<>-[\]-~]/g);
}

/** Bytes as an optional field: nothing is `-`, and so a dash must be escaped. */
export function escapeOptional(bytes: ByteString): string {
  if (bytes === "") return "-";
  return bytes === "-" ? "\\x2d" : escapeField(bytes, "plain");
}

/** A decimal number of 64 bits. */
export function parseU64(field: string): bigint {
  const value = /^\+?[0-9]{1,40}$/.test(field) ? BigInt(field.replace("+", "")) : undefined;
  if (value === undefined || value > MAX_U64) {
    throw new Error(`expected a decimal number of at most 64 bits, got ${quote(field)}`);
  }
  return value;
}

/** A number of 32 bits, decimal or octal. */
export function parseU32(field: string, radix: 8 | 10 = 10): number {
  const digits = radix === 8 ? /^\+?[0-7]{1,40}$/ : /^\+?[0-9]{1,40}$/;
  const value = digits.test(field) ? Number.parseInt(field, radix) : Number.NaN;
  if (!(value <= 0xffffffff)) {
    const kind = radix === 8 ? "an octal" : "a decimal";
    throw new Error(`expected ${kind} number of at most 32 bits, got ${quote(field)}`);
  }
  return value;
}

/** An xattr, `KEY=VALUE`. */
export function parseXattr(text: string): [key: ByteString, value: ByteString] {
  const equals = text.indexOf("=");
  if (equals < 0) throw new Error(`expected KEY=VALUE, got ${quote(text)}`);
  const key = unescapeField(text.slice(0, equals));
  const value = unescapeField(text.slice(equals + 1));
  if (key === "") throw new Error("empty key");
  if (key.includes("\0")) throw new Error("NUL in the key");
  if (key.length > MAX_XATTR_KEY) {
    throw new Error(`key of ${key.length} bytes, at most ${MAX_XATTR_KEY}`);
  }
  if (value.length > MAX_XATTR_VALUE) {
    throw new Error(`value of ${value.length} bytes, at most ${MAX_XATTR_VALUE}`);
  }
  return [key, value];
}
