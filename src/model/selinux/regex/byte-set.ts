/** Sets of bytes: what one step of a pattern may match. */

/** 256 numbers, 1 for each byte that is in the set. Treated as immutable once made. */
export type ByteSet = Uint8Array;

/** The bytes for which `contains` is true. */
export function setOf(contains: (byte: number) => boolean): ByteSet {
  const set = new Uint8Array(256);
  for (let byte = 0; byte < 256; byte++) if (contains(byte)) set[byte] = 1;
  return set;
}

/** The bytes `first` to `last`, both included. */
export function range(first: number, last: number): ByteSet {
  return new Uint8Array(256).fill(1, first, last + 1);
}

/** The bytes of a string of characters below 256. */
export function bytesOf(text: string): ByteSet {
  const set = new Uint8Array(256);
  for (let i = 0; i < text.length; i++) set[text.charCodeAt(i)] = 1;
  return set;
}

export function union(...sets: readonly ByteSet[]): ByteSet {
  const all = new Uint8Array(256);
  for (const set of sets) for (let byte = 0; byte < 256; byte++) all[byte]! |= set[byte]!;
  return all;
}

export function complement(set: ByteSet): ByteSet {
  return setOf((byte) => set[byte] === 0);
}

/** With the other case of each ASCII letter that is in the set. */
export function ignoringCase(set: ByteSet): ByteSet {
  return setOf((byte) => set[byte] === 1 || set[otherCase(byte)] === 1);
}

/** All bytes but those of a string of characters below 256. */
export function allBut(text: string): ByteSet {
  return complement(bytesOf(text));
}

/** The byte itself, or the same ASCII letter in the other case. */
export function otherCase(byte: number): number {
  const letter = byte & ~0x20;
  return letter >= 0x41 && letter <= 0x5a ? byte ^ 0x20 : byte;
}

const lower = range(0x61, 0x7a);
const upper = range(0x41, 0x5a);
const digit = range(0x30, 0x39);
const alpha = union(lower, upper);
const alnum = union(alpha, digit);
const graph = range(0x21, 0x7e);
const space = bytesOf("\t\n\v\f\r ");

/** What `\w` matches, and word boundaries are about. */
export const word: ByteSet = union(alnum, bytesOf("_"));

/** The classes of POSIX and their two usual additions, in ASCII: `[:name:]`. */
export const POSIX: ReadonlyMap<string, ByteSet> = new Map([
  ["alnum", alnum],
  ["alpha", alpha],
  ["ascii", range(0, 0x7f)],
  ["blank", bytesOf("\t ")],
  ["cntrl", union(range(0, 0x1f), range(0x7f, 0x7f))],
  ["digit", digit],
  ["graph", graph],
  ["lower", lower],
  ["print", range(0x20, 0x7e)],
  ["punct", setOf((byte) => graph[byte] === 1 && alnum[byte] === 0)],
  ["space", space],
  ["upper", upper],
  ["word", word],
  ["xdigit", union(digit, range(0x61, 0x66), range(0x41, 0x46))],
]);

/** What `\d`, `\s` and `\w`, and in capitals their complements, stand for. */
export const PERL: ReadonlyMap<string, ByteSet> = new Map([
  ["d", digit],
  ["s", space],
  ["w", word],
  ["D", complement(digit)],
  ["S", complement(space)],
  ["W", complement(word)],
]);
