/** Extended attributes on their way into an image: equal ones are found and stored once. */
import type { ByteString } from "../bytestring.ts";
import {
  alignUp,
  type ErofsFormat,
  MAX_SHARED,
  MAX_XATTR_COUNT,
  SHARED_REFERENCE,
  XATTR_ALIGN,
  XATTR_ENTRY,
  XATTR_HEADER,
} from "./layout.ts";
import {
  PREFIX_ACL_ACCESS,
  PREFIX_ACL_DEFAULT,
  splitXattrName,
  xattrFilterBit,
} from "./xattr-names.ts";

/** A name with a value, one object for all inodes that have it. */
export interface Xattr {
  readonly name: ByteString;
  readonly prefix: number;
  readonly suffix: ByteString;
  readonly value: ByteString;
  /** Size of the stored entry, padded. */
  readonly bytes: number;
  /** The name's bit in the name filter. */
  readonly filterBit: number;
  uses: number;
  /** Offset in the shared table, where it is there. */
  sharedAt: number | undefined;
}

/** What is known of a name. */
interface Name extends Pick<Xattr, "prefix" | "suffix" | "filterBit"> {
  readonly values: Map<ByteString, Xattr>;
}

export class XattrTable {
  readonly #format: ErofsFormat;
  readonly #names = new Map<ByteString, Name>();

  constructor(format: ErofsFormat) {
    this.#format = format;
  }

  /** Counts a use of the name with this value. */
  use(name: ByteString, value: ByteString): Xattr {
    const known = this.#names.get(name) ?? this.#add(name);
    let xattr = known.values.get(value);
    if (xattr === undefined) {
      const { prefix, suffix, filterBit } = known;
      const bytes = alignUp(XATTR_ENTRY.bytes + suffix.length + value.length, XATTR_ALIGN);
      xattr = { name, prefix, suffix, value, bytes, filterBit, uses: 0, sharedAt: undefined };
      known.values.set(value, xattr);
    }
    xattr.uses++;
    return xattr;
  }

  /** The order of an inode's xattrs in formats 0 and 1. */
  static compare(a: Xattr, b: Xattr): number {
    if (a.name !== b.name) return a.name < b.name ? -1 : 1;
    if (a.value.length !== b.value.length) return a.value.length - b.value.length;
    return a.value < b.value ? -1 : a.value > b.value ? 1 : 0;
  }

  /** Whether any name is an access control list. */
  get holdsAcl(): boolean {
    const isAcl = ({ prefix }: Name) =>
      prefix === PREFIX_ACL_ACCESS || prefix === PREFIX_ACL_DEFAULT;
    return [...this.#names.values()].some(isAcl);
  }

  /** Lays out those that are used more than once, and returns them in the order of the shared table. */
  share(): Xattr[] {
    const shared: Xattr[] = [];
    for (const { values } of this.#names.values()) {
      for (const xattr of values.values()) if (xattr.uses > 1) shared.push(xattr);
    }
    if (this.#format === 2) shared.sort(compareV2);
    else shared.sort((a, b) => XattrTable.compare(b, a));
    let at = 0;
    for (const xattr of shared) {
      xattr.sharedAt = at;
      at += xattr.bytes;
    }
    return shared;
  }

  #add(name: ByteString): Name {
    const { prefix, suffix } = splitXattrName(name, this.#format);
    const known = { prefix, suffix, filterBit: xattrFilterBit(prefix, suffix), values: new Map() };
    this.#names.set(name, known);
    return known;
  }
}

function compareV2(a: Xattr, b: Xattr): number {
  if (a.prefix !== b.prefix) return a.prefix - b.prefix;
  if (a.suffix !== b.suffix) return a.suffix < b.suffix ? -1 : 1;
  return a.value < b.value ? -1 : a.value > b.value ? 1 : 0;
}

/** Size of the xattr area of an inode that has these, once it is known which are shared. */
export function xattrAreaBytes(xattrs: readonly Xattr[]): number {
  if (xattrs.length === 0) return 0;
  let bytes = XATTR_HEADER.bytes;
  let shared = 0;
  for (const xattr of xattrs) {
    if (xattr.sharedAt === undefined) bytes += xattr.bytes;
    else {
      bytes += SHARED_REFERENCE;
      shared++;
    }
  }
  if (shared > MAX_SHARED) throw new Error(`${shared} shared xattrs, at most ${MAX_SHARED}`);
  if (xattrCount(bytes) > MAX_XATTR_COUNT) throw new Error(`xattrs of ${bytes} bytes are too many`);
  return bytes;
}

/** The inode's `xattrCount` for an area of this size. */
export function xattrCount(areaBytes: number): number {
  return areaBytes === 0 ? 0 : 1 + (areaBytes - XATTR_HEADER.bytes) / XATTR_ALIGN;
}
