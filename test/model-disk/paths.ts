/** Following paths on the model's disk. */
import {
  ascii,
  type ByteString,
  display,
  fromBytes,
  fromText,
} from "../../src/formats/bytestring.ts";
import {
  RESOLVE_BENEATH,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
  RESOLVE_NO_XDEV,
  S_IFLNK,
  S_IFMT,
} from "../../src/linux/constants.ts";
import type { Fd, Path } from "../../src/linux/linux.ts";
import { type Disk, type Inode, isDirectory } from "./disk.ts";
import { type ErrorCode, fail } from "./errors.ts";

const MAX_LINKS = 40;
const SUPPORTED = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
const PROC_FD = /^\/proc\/self\/fd\/(\d+)(?:\/(.*))?$/s;

/** Where a path leads: an inode, and the name that it has, or would have. */
export interface Place {
  readonly inode: Inode | undefined;
  /** Undefined: the path names a descriptor, a root, or ends with `.` or `..`. */
  readonly name: { readonly directory: Inode; readonly name: ByteString } | undefined;
}

export interface WalkOptions {
  readonly syscall: string;
  /** Whether a symbolic link at the end is followed. */
  readonly follow: boolean;
  readonly resolve?: number;
}

export function bytesOf(path: Path): ByteString {
  return typeof path === "string" ? fromText(path) : fromBytes(path);
}

/** `start` is where relative paths begin; `opened` is what a descriptor has open. */
export function walk(
  disk: Disk,
  start: () => Inode,
  opened: (fd: Fd) => Inode,
  path: ByteString,
  { syscall, follow, resolve = 0 }: WalkOptions,
): Place {
  const refuse: (code: ErrorCode) => never = (code) => fail(code, syscall, display(path));
  if ((resolve & ~SUPPORTED) !== 0) refuse("EINVAL");
  if (path === "") refuse("ENOENT");
  const beneath = (resolve & RESOLVE_BENEATH) !== 0;
  let place: Place = { inode: undefined, name: undefined };
  const rest: string[] = [];
  let links = 0;
  let depth = 0;

  /** Goes on with this path, from where it is if that is relative. */
  const enter = (text: string): void => {
    if (!text.startsWith("/")) {
      rest.unshift(...text.split("/"));
      return;
    }
    if (beneath) refuse("EXDEV");
    const magic = PROC_FD.exec(text);
    const [, root = "", ...others] = text.split("/");
    const fs = disk.fileSystems.get(root);
    if (magic !== null) place = { inode: opened(Number(magic[1])), name: undefined };
    else if (fs !== undefined) place = { inode: disk.inode(fs.root), name: undefined };
    else refuse("ENOENT");
    rest.unshift(...(magic === null ? others : (magic[2]?.split("/") ?? [])));
  };

  if (!path.startsWith("/")) place = { inode: start(), name: undefined };
  enter(path);
  for (let part = rest.shift(); part !== undefined; part = rest.shift()) {
    const { inode: at } = place;
    if (at === undefined) refuse("ENOENT");
    if (!isDirectory(at)) refuse("ENOTDIR");
    if (part === "") continue;
    if (part === "." || part === "..") {
      if (part === ".." && beneath && depth-- === 0) refuse("EXDEV");
      place = { inode: part === "." ? at : disk.inode(at.parent), name: undefined };
      continue;
    }
    const name = ascii(part);
    const ino = at.entries.get(name);
    const inode = ino === undefined ? undefined : disk.inode(ino);
    const isLink = inode !== undefined && (inode.body.mode & S_IFMT) === S_IFLNK;
    if (!isLink || (rest.length === 0 && !follow)) {
      place = { inode, name: { directory: at, name } };
      depth++;
      continue;
    }
    if ((resolve & RESOLVE_NO_SYMLINKS) !== 0 || ++links > MAX_LINKS) refuse("ELOOP");
    enter(inode.body.target);
  }
  return place;
}
