/**
 * Byte strings: file names, symlink targets and xattr names as they are on disk.
 *
 * Linux names are bytes, not text. A `ByteString` holds one byte per UTF-16 code unit (0..255, that is,
 * Latin-1), so it is a usable `Map` key, and `<` compares it byte by byte, the order that every format here sorts by.
 * The brand keeps it from being mixed up with text: convert at the rim, with the functions below.
 */
declare const brand: unique symbol;
export type ByteString = string & { readonly [brand]: "bytes" };

/** A string that is text. A `ByteString` is not assignable to it, so that bytes are not encoded twice. */
export type Text = string & { readonly [brand]?: never };

const CHUNK = 0x2000;
/**
 * Arrays of the lengths that names have. `apply` takes the elements of an array as they are; of anything else, it first
 * makes a list, which takes three times as long for a short one.
 */
const SHORT: readonly number[][] = Array.from({ length: 129 }, (_, length) =>
  new Array(length).fill(0),
);

/** The bytes, or those of them from `start` to `end`, as a byte string. */
export function fromBytes(bytes: Uint8Array, start = 0, end = bytes.length): ByteString {
  const short = SHORT[end - start];
  if (short !== undefined) {
    for (let i = 0; i < short.length; i++) short[i] = bytes[start + i]!;
    return String.fromCharCode.apply(null, short) as ByteString;
  }
  let out = "";
  for (let at = start; at < end; at += CHUNK) {
    const chunk = bytes.subarray(at, Math.min(at + CHUNK, end));
    // it takes an array-like, without the iterator that makes spreading seven times slower
    out += String.fromCharCode.apply(null, chunk as unknown as number[]);
  }
  return out as ByteString;
}

/** The bytes that a byte string stands for. */
export function toBytes(name: ByteString): Uint8Array {
  const out = new Uint8Array(name.length);
  for (let i = 0; i < name.length; i++) out[i] = name.charCodeAt(i);
  return out;
}

/** Declares that a string of ASCII characters is the byte string of the same characters. */
export function ascii(text: string): ByteString {
  return text as ByteString;
}

/** Text as its UTF-8 bytes. A lone surrogate becomes U+FFFD. */
export function fromText(text: string): ByteString {
  let out = "";
  for (const char of text) {
    const code = char.codePointAt(0) as number;
    const c = code >= 0xd800 && code <= 0xdfff ? 0xfffd : code;
    if (c < 0x80) out += String.fromCharCode(c);
    else if (c < 0x800) out += String.fromCharCode(0xc0 | (c >> 6), 0x80 | (c & 0x3f));
    else if (c < 0x10000)
      out += String.fromCharCode(0xe0 | (c >> 12), 0x80 | ((c >> 6) & 0x3f), 0x80 | (c & 0x3f));
    else
      out += String.fromCharCode(
        0xf0 | (c >> 18),
        0x80 | ((c >> 12) & 0x3f),
        0x80 | ((c >> 6) & 0x3f),
        0x80 | (c & 0x3f),
      );
  }
  return out as ByteString;
}

/** Bytes as text if they are valid UTF-8 (shortest form, no surrogates), else `undefined`. */
export function toText(name: ByteString): string | undefined {
  let out = "";
  /** Where the ASCII characters begin that are not yet part of it; a string per character would take much memory. */
  let from = 0;
  for (let i = 0; i < name.length; ) {
    const first = name.charCodeAt(i++);
    if (first < 0x80) continue;
    out += name.slice(from, i - 1);
    const more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
    if (first < 0xc2 || first > 0xf4 || i + more > name.length) return undefined;
    let code = first & (0x3f >> more);
    for (let k = 0; k < more; k++) {
      const next = name.charCodeAt(i++);
      if ((next & 0xc0) !== 0x80) return undefined;
      code = (code << 6) | (next & 0x3f);
    }
    if (code < [0, 0x80, 0x800, 0x10000][more]!) return undefined;
    if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return undefined;
    out += String.fromCodePoint(code);
    from = i;
  }
  return out + name.slice(from);
}

/** For messages: text where the bytes are printable UTF-8, `\xHH` for every other byte. */
export function display(name: ByteString): string {
  const text = toText(name);
  if (text !== undefined && !/[\x00-\x1f\x7f-\x9f\\]/.test(text)) return text;
  let out = "";
  for (let i = 0; i < name.length; i++) {
    const c = name.charCodeAt(i);
    out +=
      c >= 0x20 && c < 0x7f && c !== 0x5c
        ? String.fromCharCode(c)
        : `\\x${c.toString(16).padStart(2, "0")}`;
  }
  return out;
}
