/**
 * The structures that system calls fill in, as the 64-bit little-endian machines lay them out. Both providers hand over
 * the kernel's bytes, so there is one decoder.
 */
import { type ByteString, fromBytes } from "../formats/bytestring.ts";
import type { DirEntry, Statfs, Statx } from "./linux.ts";

/** `sizeof (struct statx)` */
export const STATX_BYTES = 256;
/** `sizeof (struct statfs)` */
export const STATFS_BYTES = 120;

/** Offsets in `struct statx` (linux/stat.h). */
const STATX = {
  attributes: 8,
  nlink: 16,
  uid: 20,
  gid: 24,
  mode: 28,
  ino: 32,
  size: 40,
  blocks: 48,
  mtimeSec: 112,
  mtimeNsec: 120,
  rdevMajor: 128,
  rdevMinor: 132,
  devMajor: 136,
  devMinor: 140,
  mountId: 144,
} as const;

/** Offsets in `struct statfs` (asm-generic/statfs.h). */
const STATFS = { type: 0, blockSize: 8, blocks: 16, available: 32, flags: 80 } as const;

/** Offsets in `struct linux_dirent64`. */
const DIRENT = { ino: 0, reclen: 16, type: 18, name: 19 } as const;

/** A 64-bit count as a number. What exceeds 2^53 in a size loses its low bits, which no file system gets near. */
function number64(view: DataView, offset: number): number {
  return view.getUint32(offset, true) + view.getUint32(offset + 4, true) * 0x1_0000_0000;
}

export function decodeStatx(view: DataView): Statx {
  return {
    mode: view.getUint16(STATX.mode, true),
    nlink: view.getUint32(STATX.nlink, true),
    uid: view.getUint32(STATX.uid, true),
    gid: view.getUint32(STATX.gid, true),
    ino: view.getBigUint64(STATX.ino, true),
    size: number64(view, STATX.size),
    blocks: number64(view, STATX.blocks),
    mtimeSec: view.getBigInt64(STATX.mtimeSec, true),
    mtimeNsec: view.getUint32(STATX.mtimeNsec, true),
    rdevMajor: view.getUint32(STATX.rdevMajor, true),
    rdevMinor: view.getUint32(STATX.rdevMinor, true),
    devMajor: view.getUint32(STATX.devMajor, true),
    devMinor: view.getUint32(STATX.devMinor, true),
    mountId: view.getBigUint64(STATX.mountId, true),
    attributes: view.getBigUint64(STATX.attributes, true),
  };
}

export function decodeStatfs(view: DataView): Statfs {
  return {
    type: view.getUint32(STATFS.type, true),
    blockSize: number64(view, STATFS.blockSize),
    blocks: number64(view, STATFS.blocks),
    available: number64(view, STATFS.available),
    flags: view.getUint32(STATFS.flags, true),
  };
}

/** The entries that `getdents64` put into the first `length` bytes, without `.` and `..`. */
export function decodeDirents(buffer: Uint8Array, length: number): DirEntry[] {
  const view = new DataView(buffer.buffer, buffer.byteOffset, length);
  const entries: DirEntry[] = [];
  for (let at = 0; at < length; at += view.getUint16(at + DIRENT.reclen, true)) {
    const name = cString(buffer, at + DIRENT.name);
    if (name === "." || name === "..") continue;
    entries.push({
      name,
      type: view.getUint8(at + DIRENT.type),
      ino: view.getBigUint64(at + DIRENT.ino, true),
    });
  }
  return entries;
}

/** The strings, each ended by NUL, in these bytes. */
export function decodeStrings(bytes: Uint8Array): ByteString[] {
  const out: ByteString[] = [];
  for (let at = 0; at < bytes.length; ) {
    const name = cString(bytes, at);
    out.push(name);
    at += name.length + 1;
  }
  return out;
}

function cString(bytes: Uint8Array, start: number): ByteString {
  const end = bytes.indexOf(0, start);
  return fromBytes(bytes.subarray(start, end < 0 ? bytes.length : end));
}
