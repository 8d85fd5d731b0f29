/**
 * Reads the entries of a layer from its splitstream: the archive that a `TarSplitter` took apart.
 */
import { type ByteString, display } from "../bytestring.ts";
import type { Chunk } from "../splitstream.ts";
import { MEMBER_TYPES, type TarMember } from "./member.ts";
import { TarScanner } from "./scanner.ts";
import { MAX_INLINE_FILE } from "./splitter.ts";

/** What a name in a layer stands for. */
export type TarItem =
  | { readonly type: "directory" }
  /** Another name of a file that came before, in this layer or one below; `target` is as in the archive. */
  | { readonly type: "hardlink"; readonly target: ByteString }
  | { readonly type: "inline"; readonly data: Uint8Array }
  | { readonly type: "external"; readonly size: number; readonly digest: Uint8Array }
  | { readonly type: "symlink"; readonly target: ByteString }
  /** `rdev` as in `st_rdev` (Linux encoding). */
  | { readonly type: "chardev"; readonly rdev: number }
  | { readonly type: "blockdev"; readonly rdev: number }
  | { readonly type: "fifo" };

export interface TarEntry {
  /** Offset of its first header in the archive. */
  readonly offset: number;
  /** As in the archive: absolute or not, perhaps with `./`, `//` or a slash at its end. Never empty. */
  readonly path: ByteString;
  /** The same fields as the stat of a tree's node. */
  readonly stat: {
    mode: number;
    uid: number;
    gid: number;
    mtimeSec: bigint;
    mtimeNsec: number;
    xattrs: Map<ByteString, Uint8Array>;
  };
  readonly item: TarItem;
}

/**
 * The entries of an archive whose pieces these are; chunks may be cut anywhere but at external bodies.
 * Throws, naming an offset of the archive, where it is damaged or holds what an image cannot.
 */
export function* readEntries(chunks: Iterable<Chunk>): Generator<TarEntry> {
  let entries: TarEntry[] = [];
  let member: TarMember | undefined;
  let data = new Uint8Array(0);
  let digest: Uint8Array | undefined;

  const scanner = new TarScanner({
    framing: () => {},
    member: (next) => {
      member = next;
      data = new Uint8Array(0);
      digest = undefined;
      if (!MEMBER_TYPES.has(next.typeLetter)) {
        throw memberError(next, `unknown type "${display(next.typeLetter as ByteString)}"`);
      }
    },
    body: (bytes) => {
      if (member!.size > MAX_INLINE_FILE) {
        throw memberError(member!, `body of ${member!.size} bytes, expected it to be an object`);
      }
      const all = new Uint8Array(data.length + bytes.length);
      all.set(data);
      all.set(bytes, data.length);
      data = all;
    },
    endBody: () => {
      const { path, offset, mode, uid, gid, mtimeSec, mtimeNsec, xattrs } = member!;
      const stat = { mode, uid, gid, mtimeSec, mtimeNsec, xattrs };
      entries.push({ offset, path, stat, item: itemOf(member!, data, digest) });
    },
  });

  for (const chunk of chunks) {
    if (chunk.type === "inline") {
      scanner.push(chunk.data);
    } else {
      if (member === undefined) throw new Error("tar offset 0: an object, expected a header");
      if (scanner.bodyRemaining !== member.size || member.size <= MAX_INLINE_FILE) {
        throw memberError(member, "an object that is not the content of a large file");
      }
      digest = chunk.digest;
      scanner.skipBody();
    }
    if (entries.length > 0) {
      const found = entries;
      entries = [];
      yield* found;
    }
  }
  scanner.end();
}

function itemOf(member: TarMember, data: Uint8Array, digest: Uint8Array | undefined): TarItem {
  const type = MEMBER_TYPES.get(member.typeLetter)!;
  switch (type) {
    case "file":
      return digest === undefined
        ? { type: "inline", data }
        : { type: "external", size: member.size, digest };
    case "hardlink":
    case "symlink":
      return { type, target: member.linkTarget };
    case "chardev":
    case "blockdev":
      return { type, rdev: rdevOf(member) };
    case "directory":
    case "fifo":
      return { type };
  }
}

/** Linux has 12 bits for the major and 20 for the minor number. */
function rdevOf(member: TarMember): number {
  if (member.device === undefined) throw memberError(member, "a device without device numbers");
  const { major, minor } = member.device;
  if (major >> 12n !== 0n || minor >> 20n !== 0n) {
    throw memberError(member, `device ${major}:${minor}, expected at most 4095:1048575`);
  }
  return Number((minor & 0xffn) | (major << 8n) | ((minor & ~0xffn) << 12n));
}

function memberError(member: TarMember, why: string): Error {
  return new Error(`tar offset ${member.offset}: "${display(member.path)}": ${why}`);
}
