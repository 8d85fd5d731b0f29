/**
 * Members of an archive: a header block together with the extension headers before it.
 */
import { type ByteString, display, fromBytes } from "../bytestring.ts";
import {
  BLOCK_SIZE,
  parseHeader,
  parseHeaderStat,
  type TarHeader,
  type TarHeaderStat,
} from "./header.ts";
import { type PaxOverrides, parsePax } from "./pax.ts";

/** Everything that the headers of one member say. */
export interface TarMember {
  /** Where its first header block is in the archive. */
  readonly offset: number;
  /** A type letter: what it means is in `MEMBER_TYPES`, if anything. */
  readonly typeLetter: string;
  /** As it is in the archive: relative or absolute, never empty, without NUL. */
  readonly path: ByteString;
  /** Target of a hard or symbolic link; may be empty. */
  readonly linkTarget: ByteString;
  /** The twelve permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeSec: bigint;
  readonly mtimeNsec: number;
  readonly xattrs: Map<ByteString, Uint8Array>;
  /** Of the body, in bytes. */
  readonly size: number;
  /** Device numbers, which V7 headers do not have. */
  readonly device: TarHeaderStat["device"];
}

export type MemberType =
  | "file"
  | "hardlink"
  | "symlink"
  | "chardev"
  | "blockdev"
  | "directory"
  | "fifo";

const NO_OVERRIDES: PaxOverrides = { xattrs: new Map() };

/** Meaning of the type letters of members; others are unknown. */
export const MEMBER_TYPES: ReadonlyMap<string, MemberType> = new Map([
  ["0", "file"],
  ["\0", "file"],
  ["7", "file"],
  ["1", "hardlink"],
  ["2", "symlink"],
  ["3", "chardev"],
  ["4", "blockdev"],
  ["5", "directory"],
  ["6", "fifo"],
]);

/** Extension headers: those that speak of the next member, but for `global`. */
const EXTENSIONS: ReadonlyMap<string, Extension> = new Map([
  ["x", "extended header"],
  ["L", "long name"],
  ["K", "long link name"],
]);
const GLOBAL_EXTENSION = "g";
const GNU_SPARSE = "S";

type Extension = "extended header" | "long name" | "long link name";

/** Headers that are not a file's content are held in memory: together at most this many bytes for one member. */
export const MAX_METADATA = 1 << 20;

/** What a header block begins. */
export type HeaderBlock =
  | { readonly type: "member"; readonly member: TarMember }
  /** The body that follows is to be given to `MemberReader.extension`. */
  | { readonly type: "extension"; readonly size: number };

/** Reads headers of one archive, in order. */
export class MemberReader {
  #extensions = new Map<Extension | "global header", { body: Uint8Array; at: number }>();
  #expecting: { name: Extension | "global header"; at: number } | undefined;
  #metadataSize = 0;
  /** Offset of the first header of the member at hand. */
  #start: number | undefined;

  /** Whether extension headers were read whose member did not come yet. */
  get pending(): boolean {
    return this.#start !== undefined;
  }

  /** Takes the header block at `offset`. */
  block(block: Uint8Array, offset: number): HeaderBlock {
    const header = parseHeader(block, offset);
    const extended = header.format !== "v7";
    const extension =
      header.type === GLOBAL_EXTENSION
        ? "global header"
        : extended
          ? EXTENSIONS.get(header.type)
          : undefined;
    if (extension !== undefined) return this.#begin(extension, header, offset);
    if (extended && header.type === GNU_SPARSE) {
      throw new Error(
        `tar offset ${offset}: "${display(header.name)}": sparse files are not supported`,
      );
    }
    return { type: "member", member: this.#member(block, header, offset) };
  }

  /** Takes the body of the extension header that the last block began. */
  extension(body: Uint8Array): void {
    if (this.#expecting === undefined) throw new Error("no extension header was begun");
    const { name, at } = this.#expecting;
    this.#expecting = undefined;
    // Global headers stay in the stream and have no meaning for the tree.
    if (name !== "global header") this.#extensions.set(name, { body, at });
  }

  #begin(name: Extension | "global header", header: TarHeader, offset: number): HeaderBlock {
    const fail = (why: string) => new Error(`tar offset ${offset}: ${name}: ${why}`);
    if (this.#extensions.has(name)) throw fail("expected a member after the one before");
    const total = BigInt(this.#metadataSize) + header.size;
    if (total > BigInt(MAX_METADATA)) {
      throw fail(
        `${total} bytes of headers for one member, expected at most ${MAX_METADATA} bytes`,
      );
    }
    if (name === "global header") {
      if (this.pending) throw fail("expected a member after an extension header");
    } else {
      this.#metadataSize = Number(total);
      this.#start ??= offset;
    }
    this.#expecting = { name, at: offset + BLOCK_SIZE };
    return { type: "extension", size: Number(header.size) };
  }

  #member(block: Uint8Array, header: TarHeader, offset: number): TarMember {
    const stat = parseHeaderStat(block, header.format, offset);
    const extended = this.#extensions.get("extended header");
    const pax = extended === undefined ? NO_OVERRIDES : parsePax(extended.body, extended.at);
    const start = this.#start ?? offset;
    const path = pax.path ?? this.#longName("long name") ?? header.name;
    const linkTarget = pax.linkPath ?? this.#longName("long link name") ?? header.linkName;
    const size = pax.size ?? header.size;
    this.#extensions.clear();
    this.#metadataSize = 0;
    this.#start = undefined;

    const fail = (why: string) => new Error(`tar offset ${offset}: "${display(path)}": ${why}`);
    if (path === "") throw fail("empty path");
    if (path.includes("\0") || linkTarget.includes("\0")) throw fail("NUL in a path");
    if (size > BigInt(Number.MAX_SAFE_INTEGER)) throw fail(`size of ${size} bytes is implausible`);
    const type = MEMBER_TYPES.get(header.type);
    if (type !== "file" && size > 0n) {
      // A body of unknown meaning would have to be kept in memory with the headers.
      if (type !== undefined) throw fail(`expected no body for a ${type}, its size is ${size}`);
      if (size > BigInt(MAX_METADATA)) throw fail(`body of ${size} bytes of an unknown type`);
    }
    return {
      offset: start,
      typeLetter: header.type,
      path,
      linkTarget,
      mode: Number(stat.mode & 0o7777n),
      uid: Number(BigInt.asUintN(32, pax.uid ?? stat.uid)),
      gid: Number(BigInt.asUintN(32, pax.gid ?? stat.gid)),
      mtimeSec: BigInt.asIntN(64, pax.mtimeSec ?? stat.mtime),
      mtimeNsec: pax.mtimeNsec ?? 0,
      xattrs: pax.xattrs,
      size: Number(size),
      device: stat.device,
    };
  }

  /** Names of GNU tar end in one NUL. */
  #longName(extension: Extension): ByteString | undefined {
    const body = this.#extensions.get(extension)?.body;
    if (body === undefined) return undefined;
    return fromBytes(body.at(-1) === 0 ? body.subarray(0, -1) : body);
  }
}
