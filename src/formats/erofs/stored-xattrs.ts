/** Reads the extended attributes of an inode. Errors name the offset in the image. */
import { type ByteString, fromBytes } from "../bytestring.ts";
import { alignUp, SHARED_REFERENCE, XATTR_ALIGN, XATTR_ENTRY, XATTR_HEADER } from "./layout.ts";
import { XATTR_PREFIXES, xattrFilterBit } from "./xattr-names.ts";

export interface StoredXattr {
  readonly name: ByteString;
  /** A part of the image. */
  readonly value: Uint8Array;
  readonly offset: number;
  /** Of the stored entry, padded. */
  readonly bytes: number;
  readonly filterBit: number;
}

/** Bytes of the area that an inode's `xattrCount` stands for. */
export function xattrAreaSize(count: number): number {
  return count === 0 ? 0 : XATTR_HEADER.bytes + (count - 1) * XATTR_ALIGN;
}

/**
 * The xattrs of the area at `at`, which lies inside the image. References count from `sharedBase`; `shared` keeps
 * those that were read.
 */
export function readXattrs(
  view: DataView,
  at: number,
  areaBytes: number,
  sharedBase: number,
  shared: Map<number, StoredXattr>,
): StoredXattr[] {
  if (areaBytes === 0) return [];
  const fail = (offset: number, why: string) => new Error(`offset ${offset}: ${why}`);
  const xattrs: StoredXattr[] = [];
  const end = at + areaBytes;
  const local = at + XATTR_HEADER.bytes + XATTR_HEADER.sharedCount.get(view, at) * SHARED_REFERENCE;
  if (local > end) throw fail(at + XATTR_HEADER.sharedCount.offset, "more shared xattrs than fit");

  for (let ref = at + XATTR_HEADER.bytes; ref < local; ref += SHARED_REFERENCE) {
    const offset = sharedBase + view.getUint32(ref, true) * XATTR_ALIGN;
    let xattr = shared.get(offset);
    if (xattr === undefined) {
      xattr = readXattr(view, offset, view.byteLength);
      if (xattr === undefined) throw fail(ref, `shared xattr at ${offset}, outside the image`);
      shared.set(offset, xattr);
    }
    xattrs.push(xattr);
  }
  for (let next = local; next < end; ) {
    const xattr = readXattr(view, next, end);
    if (xattr === undefined) throw fail(next, "xattr reaches over the end of the inode's");
    xattrs.push(xattr);
    next += xattr.bytes;
  }

  const absent = XATTR_HEADER.nameFilter.get(view, at);
  const hidden = xattrs.find(({ filterBit }) => (absent & filterBit) !== 0);
  if (hidden !== undefined) throw fail(at, "the name filter hides an xattr");
  return xattrs;
}

/** `undefined` if the entry does not end before `end`. */
function readXattr(view: DataView, offset: number, end: number): StoredXattr | undefined {
  if (offset + XATTR_ENTRY.bytes > end) return undefined;
  const suffixAt = offset + XATTR_ENTRY.bytes;
  const valueAt = suffixAt + XATTR_ENTRY.suffixLength.get(view, offset);
  const valueEnd = valueAt + XATTR_ENTRY.valueLength.get(view, offset);
  if (valueEnd > end) return undefined;
  const slice = (from: number, to: number) =>
    new Uint8Array(view.buffer, view.byteOffset + from, to - from);
  const index = XATTR_ENTRY.prefix.get(view, offset);
  const prefix = XATTR_PREFIXES[index];
  if (prefix === undefined) throw new Error(`offset ${offset + 1}: unknown xattr prefix ${index}`);
  const suffix = fromBytes(slice(suffixAt, valueAt));
  const name = (prefix + suffix) as ByteString;
  if (name === "" || name.includes("\0")) {
    throw new Error(`offset ${suffixAt}: not the name of an xattr`);
  }
  return {
    name,
    value: slice(valueAt, valueEnd),
    offset,
    bytes: alignUp(valueEnd - offset, XATTR_ALIGN),
    filterBit: xattrFilterBit(index, suffix),
  };
}
