/** Extended attributes on their way into an image: equal ones are found and stored once. */
import { type ByteString, fromBytes } from "../bytestring.ts";
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
import { METACOPY, OBJECT_REDIRECT, type ObjectValue, objectValue } from "./metacopy.ts";
import {
  PREFIX_ACL_ACCESS,
  PREFIX_ACL_DEFAULT,
  splitXattrName,
  XATTR,
  xattrFilterBit,
} from "./xattr-names.ts";

/** The name of an xattr as it is stored. */
export interface XattrName {
  readonly name: ByteString;
  readonly prefix: number;
  readonly suffix: ByteString;
  /** The name's bit in the name filter. */
  readonly filterBit: number;
}

/** A name with a value, one object for all inodes that have it. */
export class Xattr {
  readonly name: XattrName;
  /** What the value is made of, if that is an object. */
  readonly object: ObjectValue | undefined;
  readonly digest: Uint8Array;
  /** Size of the value. */
  readonly length: number;
  uses = 0;
  /** Offset in the shared table, where it is there. */
  sharedAt: number | undefined = undefined;
  #value: ByteString | undefined;

  constructor(name: XattrName, value: ByteString | { object: ObjectValue; digest: Uint8Array }) {
    this.name = name;
    if (typeof value === "string") {
      this.object = undefined;
      this.digest = NO_DIGEST;
      this.#value = value;
      this.length = value.length;
    } else {
      this.object = value.object;
      this.digest = value.digest;
      this.#value = undefined;
      this.length = value.object.size(value.digest);
    }
  }

  /** The value; that of an object is made when it is asked for, which is seldom. */
  get value(): ByteString {
    this.#value ??= objectValue(this.object!, this.digest);
    return this.#value;
  }

  /** Size of the stored entry, padded. */
  get bytes(): number {
    return alignUp(XATTR_ENTRY.bytes + this.name.suffix.length + this.length, XATTR_ALIGN);
  }
}

const NO_DIGEST = new Uint8Array(0);

/** What tells overlayfs of an object. */
export interface ObjectXattrs {
  readonly metacopy: Xattr;
  readonly redirect: Xattr;
}

export class XattrTable {
  readonly #format: ErofsFormat;
  readonly #names = new Map<ByteString, XattrName & { readonly values: Map<ByteString, Xattr> }>();
  /** By digest. */
  readonly #objects = new Map<ByteString, ObjectXattrs>();

  constructor(format: ErofsFormat) {
    this.#format = format;
  }

  /** Counts a use of the name with this value, which is not that of an object. */
  use(name: ByteString, value: ByteString): Xattr {
    const known = this.#name(name);
    let xattr = known.values.get(value);
    if (xattr === undefined) {
      xattr = new Xattr(known, value);
      known.values.set(value, xattr);
    }
    xattr.uses++;
    return xattr;
  }

  /** The xattrs for an object. Who takes one counts its use. */
  forObject(digest: Uint8Array): ObjectXattrs {
    const key = fromBytes(digest);
    let xattrs = this.#objects.get(key);
    if (xattrs === undefined) {
      xattrs = {
        metacopy: new Xattr(this.#name(XATTR.metacopy), { object: METACOPY, digest }),
        redirect: new Xattr(this.#name(XATTR.redirect), { object: OBJECT_REDIRECT, digest }),
      };
      this.#objects.set(key, xattrs);
    }
    return xattrs;
  }

  /** The order of an inode's xattrs in formats 0 and 1. */
  static compare(a: Xattr, b: Xattr): number {
    if (a.name !== b.name) return a.name.name < b.name.name ? -1 : 1;
    if (a.length !== b.length) return a.length - b.length;
    return a.value < b.value ? -1 : a.value > b.value ? 1 : 0;
  }

  /** Whether any name is an access control list. */
  get holdsAcl(): boolean {
    const isAcl = ({ prefix }: XattrName) =>
      prefix === PREFIX_ACL_ACCESS || prefix === PREFIX_ACL_DEFAULT;
    return [...this.#names.values()].some(isAcl);
  }

  /** Lays out those that are used more than once, and returns them in the order of the shared table. */
  share(): Xattr[] {
    const shared: Xattr[] = [];
    for (const { values } of this.#names.values()) {
      for (const xattr of values.values()) if (xattr.uses > 1) shared.push(xattr);
    }
    for (const { metacopy, redirect } of this.#objects.values()) {
      if (metacopy.uses > 1) shared.push(metacopy);
      if (redirect.uses > 1) shared.push(redirect);
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

  /** One object for each name. */
  #name(name: ByteString): XattrName & { readonly values: Map<ByteString, Xattr> } {
    let known = this.#names.get(name);
    if (known === undefined) {
      const { prefix, suffix } = splitXattrName(name, this.#format);
      const filterBit = xattrFilterBit(prefix, suffix);
      known = { name, prefix, suffix, filterBit, values: new Map() };
      this.#names.set(name, known);
    }
    return known;
  }
}

function compareV2(a: Xattr, b: Xattr): number {
  if (a.name !== b.name) {
    if (a.name.prefix !== b.name.prefix) return a.name.prefix - b.name.prefix;
    return a.name.suffix < b.name.suffix ? -1 : 1;
  }
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
