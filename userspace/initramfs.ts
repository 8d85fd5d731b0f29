/** Reads what an initramfs holds, as the kernel unpacks it: archives as they are and compressed ones, in any order. */
import { CpioScanner } from "../src/formats/cpio.ts";
import { type InitramfsContent, InitramfsFinder } from "../src/model/initramfs-content.ts";
import { isCompressed, unpack } from "./unpack.ts";

/** In bytes, of all archives when they are decompressed. */
const MAX_UNPACKED = 2 ** 31;
/** What the header of an archive begins with, but for its last digit; headers are aligned to so many bytes. */
const MAGIC = "07070";
const ALIGNMENT = 4;

/** What it holds. Throws, naming an offset, where the kernel could not unpack it. */
export function readInitramfs(data: Uint8Array): InitramfsContent {
  const finder = new InitramfsFinder();
  let seen = false;
  let unpacked = 0;
  for (let at = 0; at < data.length; ) {
    const plain = new CpioScanner((entry) => finder.add(entry), at);
    at += plain.push(data.subarray(at));
    seen ||= plain.seen;
    if (at === data.length) {
      plain.end();
      break;
    }
    const end = endOfCompressed(data, at);
    try {
      const scanner = new CpioScanner((entry) => finder.add(entry));
      unpacked += readCompressed(data.subarray(at, end), scanner, MAX_UNPACKED - unpacked);
    } catch (error) {
      throw new Error(`offset ${at}`, { cause: error });
    }
    seen = true;
    at = end;
  }
  if (!seen) throw new Error("there is no archive in it");
  return finder.content;
}

/** Returns how much it is, decompressed. */
function readCompressed(data: Uint8Array, scanner: CpioScanner, limit: number): number {
  let size = 0;
  for (const piece of unpack(data)) {
    size += piece.length;
    if (size > limit) throw new Error(`more than ${MAX_UNPACKED} bytes`);
    if (scanner.push(piece) < piece.length)
      throw new Error("what is compressed is no cpio archive");
  }
  if (!scanner.seen) throw new Error("there is no archive in it");
  scanner.end();
  return size;
}

/**
 * Where what is compressed is followed by an archive that is not, or all ends. Not every decoder tells where its data ends, so
 * that is looked for: what reads as whole archives, with nothing behind them but what the kernel would unpack, too, is not
 * part of compressed data.
 */
function endOfCompressed(data: Uint8Array, start: number): number {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.length);
  let at = bytes.indexOf(MAGIC, start);
  while (at >= 0) {
    // what did not read as an archive up to an entry does not from one of the entries before that either
    let last = at;
    if (at % ALIGNMENT === 0 && isArchive(data, at, (offset) => (last = offset))) return at;
    at = bytes.indexOf(MAGIC, last + 1);
  }
  return data.length;
}

function isArchive(data: Uint8Array, start: number, onEntry: (offset: number) => void): boolean {
  const rest = data.subarray(start);
  const scanner = new CpioScanner(({ offset }) => onEntry(offset), start);
  try {
    const taken = scanner.push(rest);
    if (taken < rest.length) return isCompressed(rest.subarray(taken));
    scanner.end();
    return true;
  } catch {
    return false;
  }
}
