/**
 * Directory blocks. Each holds entries, then their names back to back; the offset of the first name tells how many
 * entries there are. Blocks are filled up with zeros.
 */
import { type ByteString, fromBytes } from "../bytestring.ts";
import { BLOCK_SIZE, DIRENT, type FileType, MAX_NAME } from "./layout.ts";

/** A last piece that is larger than this becomes a block of its own instead of an inline tail. */
const MAX_TAIL = BLOCK_SIZE / 2;

export interface PackedDirectory<T> {
  readonly blocks: readonly (readonly T[])[];
  /** Entries that are stored behind the inode. */
  readonly tail: readonly T[];
  readonly tailBytes: number;
}

/** Distributes the entries of a directory, which are in byte order. */
export function packDirectory<T extends { readonly name: ByteString }>(
  entries: readonly T[],
): PackedDirectory<T> {
  const blocks: T[][] = [];
  let tail: T[] = [];
  let tailBytes = 0;
  for (const entry of entries) {
    const bytes = DIRENT.bytes + entry.name.length;
    if (tailBytes + bytes > BLOCK_SIZE) {
      blocks.push(tail);
      tail = [];
      tailBytes = 0;
    }
    tail.push(entry);
    tailBytes += bytes;
  }
  if (tailBytes > MAX_TAIL) return { blocks: [...blocks, tail], tail: [], tailBytes: 0 };
  return { blocks, tail, tailBytes };
}

/** An entry to be written. */
export interface PlacedDirent {
  readonly name: ByteString;
  readonly inode: { readonly nid: number; readonly fileType: FileType };
}

/** Writes a block, or a tail, at `base`. */
export function writeDirents(view: DataView, base: number, entries: readonly PlacedDirent[]): void {
  let nameOffset = DIRENT.bytes * entries.length;
  let at = base;
  for (const { name, inode } of entries) {
    DIRENT.nid.set(view, at, inode.nid);
    DIRENT.nameOffset.set(view, at, nameOffset);
    DIRENT.fileType.set(view, at, inode.fileType.dirent);
    for (let i = 0; i < name.length; i++) view.setUint8(base + nameOffset++, name.charCodeAt(i));
    at += DIRENT.bytes;
  }
}

/** An entry that was read, with its own offset in the image. */
export interface ReadDirent {
  readonly nid: number;
  readonly fileType: number;
  readonly name: ByteString;
  readonly offset: number;
}

/** Reads the block, or the tail, at `base`. Errors name the offset. */
export function* readDirents(
  image: Uint8Array,
  view: DataView,
  base: number,
  bytes: number,
): Generator<ReadDirent> {
  const fail = (offset: number, why: string) => new Error(`offset ${offset}: ${why}`);
  if (bytes < DIRENT.bytes) throw fail(base, `directory block of ${bytes} bytes`);
  const names = DIRENT.nameOffset.get(view, base);
  if (names === 0 || names % DIRENT.bytes !== 0 || names > bytes) {
    throw fail(base + DIRENT.nameOffset.offset, `first name at ${names} in a block of ${bytes}`);
  }
  for (let at = 0; at < names; at += DIRENT.bytes) {
    const offset = base + at;
    const start = DIRENT.nameOffset.get(view, offset);
    const isLast = at + DIRENT.bytes === names;
    const end = isLast
      ? endOfLastName(image, base, start, bytes)
      : DIRENT.nameOffset.get(view, offset + DIRENT.bytes);
    if (start < names || end > bytes || start >= end) {
      throw fail(offset + DIRENT.nameOffset.offset, `name from ${start} to ${end}`);
    }
    if (end - start > MAX_NAME) {
      throw fail(base + start, `name of ${end - start} bytes, at most ${MAX_NAME}`);
    }
    const name = fromBytes(image.subarray(base + start, base + end));
    if (/[/\0]/.test(name)) throw fail(base + start, "not a file name");
    yield {
      nid: DIRENT.nid.get(view, offset),
      fileType: DIRENT.fileType.get(view, offset),
      name,
      offset,
    };
  }
}

/** The last name ends with its block, or where the zeros begin that fill it. */
function endOfLastName(image: Uint8Array, base: number, start: number, bytes: number): number {
  const zero = image.subarray(base, base + bytes).indexOf(0, start);
  return zero < 0 ? bytes : zero;
}
