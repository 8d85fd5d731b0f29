/** All that is in a repository, as it is: links, object files, what objects refer to. */
import { ascii, type ByteString, toBytes } from "../../src/formats/bytestring.ts";
import { erofsObjects } from "../../src/formats/erofs/index.ts";
import { isSplitstream } from "../../src/formats/splitstream.ts";
import { SPLITSTREAM_HEADER_SIZE } from "../../src/formats/splitstream-layout.ts";
import {
  AT_SYMLINK_NOFOLLOW,
  DT_DIR,
  DT_REG,
  O_CLOEXEC,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_RDONLY,
  S_IFDIR,
  S_IFMT,
} from "../../src/linux/constants.ts";
import { type DirEntry, type Fd, isErrno, type Linux } from "../../src/linux/linux.ts";
import type { LinkKind, Links, LinkTable, ObjectReader } from "../../src/model/liveness.ts";
import { baseName, digestOfObjectPath, digestOfTarget, OBJECTS, objectFile } from "./layout.ts";
import { readDirectory } from "./links.ts";
import type { Repository, RepositoryFiles } from "./repository.ts";

/** The type of an entry where the file system does not tell it (`DT_UNKNOWN`). */
const DT_UNKNOWN = 0;
/** Largest image that is read, in bytes. */
export const IMAGE_LIMIT = 2 ** 30;
const REFS = ascii("refs");

/** One file below `objects/xx/`, with a name that an object can have. */
export interface ObjectFile {
  readonly digest: Uint8Array;
  /** Its path in the repository. */
  readonly path: string;
}

/** One entry of `streams/` or `images/`, or of a directory below their `refs/`, that is no directory. */
export interface LinkFile {
  /** The path below the directory that was listed. */
  readonly name: ByteString;
  /** The path in the repository. */
  readonly path: Uint8Array;
  /** What the symlink holds; `undefined`: it is something else. */
  readonly target: ByteString | undefined;
}

/** The directories `objects/00` to `objects/ff` that there are. */
export function objectDirectories({ platform, root }: RepositoryFiles): string[] {
  const names = readDirectory(platform.linux, root, OBJECTS)
    .filter(({ name, type }) => /^[0-9a-f]{2}$/.test(name) && mayBe(type, DT_DIR))
    .map(({ name }) => name as string);
  return names.sort();
}

/** What is in `objects/<directory>`: the objects, and the names of what is none. */
export function listObjects(
  { platform, root, hash }: RepositoryFiles,
  directory: string,
): { readonly objects: ObjectFile[]; readonly others: DirEntry[] } {
  const objects: ObjectFile[] = [];
  const others: DirEntry[] = [];
  for (const entry of readDirectory(platform.linux, root, `${OBJECTS}/${directory}`)) {
    const path = `${directory}/${entry.name}`;
    const digest = mayBe(entry.type, DT_REG) ? digestOfObjectPath(path, hash) : undefined;
    if (digest === undefined) others.push(entry);
    else objects.push({ digest, path: `${OBJECTS}/${path}` });
  }
  return { objects, others };
}

/** The links of `streams/` or `images/`, without references. */
export function listEntries(files: RepositoryFiles, kind: LinkKind): LinkFile[] {
  const { links, directories } = listLevel(files, ascii(kind), ascii(""));
  for (const directory of directories) {
    const name = directory.slice(0, -1) as ByteString;
    const path = toBytes(`${kind}/${name}` as ByteString);
    if (name !== REFS) links.push({ name, path, target: undefined });
  }
  return links.filter(({ name }) => name !== REFS);
}

/** The links below `refs/`. */
export function listReferences(files: RepositoryFiles, kind: LinkKind): LinkFile[] {
  const found: LinkFile[] = [];
  const refs = ascii(`${kind}/refs`);
  const pending = [ascii("")];
  for (let prefix = pending.pop(); prefix !== undefined; prefix = pending.pop()) {
    const { links, directories } = listLevel(files, refs, prefix);
    found.push(...links);
    pending.push(...directories);
  }
  return found;
}

/** Directories end in a slash. */
function listLevel(
  { platform: { linux }, root }: RepositoryFiles,
  base: ByteString,
  prefix: ByteString,
): { readonly links: LinkFile[]; readonly directories: ByteString[] } {
  const at = `${base}/${prefix}`.slice(0, -1) as ByteString;
  const links: LinkFile[] = [];
  const directories: ByteString[] = [];
  for (const entry of readDirectory(linux, root, toBytes(prefix === "" ? base : at))) {
    const name = `${prefix}${entry.name}` as ByteString;
    const path = toBytes(`${base}/${name}` as ByteString);
    if (entry.type === DT_DIR || (entry.type === DT_UNKNOWN && isDirectory(linux, root, path))) {
      directories.push(`${name}/` as ByteString);
      continue;
    }
    try {
      links.push({ name, path, target: linux.readlinkat(root, path) });
    } catch (error) {
      if (isErrno(error, "ENOENT")) continue; // it has just been removed
      if (!isErrno(error, "EINVAL")) throw error;
      links.push({ name, path, target: undefined });
    }
  }
  return { links, directories };
}

/** The links of a repository. What is no link, or leads to no object, is not ours and is left out. */
export function readLinks(files: RepositoryFiles): Links {
  const table = (kind: LinkKind): LinkTable => {
    const entries = new Map<ByteString, Uint8Array>();
    for (const { name, target } of listEntries(files, kind)) {
      const digest = target === undefined ? undefined : digestOfTarget(target, files.hash);
      if (digest !== undefined) entries.set(name, digest);
    }
    const refs = listReferences(files, kind).flatMap(({ name, target }) =>
      target === undefined ? [] : [{ name, target: baseName(target) as ByteString }],
    );
    return { entries, refs };
  };
  return { images: table("images"), streams: table("streams") };
}

/** Reads what objects refer to, each object checked against its digest. */
export function objectReader(repository: Repository): ObjectReader {
  return {
    stream: (digest) => {
      if (!isStream(repository.files, digest)) return undefined;
      const stream = repository.readStreamObject(digest);
      return { objects: stream.objectRefs, named: stream.namedRefs().values() };
    },
    image: (digest) => erofsObjects(repository.readObject(digest, IMAGE_LIMIT)),
  };
}

/** Opens an object's file, whatever it holds; `undefined` if there is none. */
export function openObjectFile(
  { platform, root }: RepositoryFiles,
  digest: Uint8Array,
): Fd | undefined {
  try {
    const flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
    return platform.linux.openat(root, objectFile(digest), flags);
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return undefined;
    throw error;
  }
}

/** Whether an object's file begins as a splitstream does. */
function isStream(files: RepositoryFiles, digest: Uint8Array): boolean {
  const fd = openObjectFile(files, digest);
  if (fd === undefined) return false;
  const { linux } = files.platform;
  try {
    const start = new Uint8Array(SPLITSTREAM_HEADER_SIZE);
    return linux.read(fd, start, 0) === start.length && isSplitstream(start);
  } finally {
    linux.close(fd);
  }
}

function isDirectory(linux: Linux, root: Fd, path: Uint8Array): boolean {
  return (linux.statx(root, path, AT_SYMLINK_NOFOLLOW).mode & S_IFMT) === S_IFDIR;
}

function mayBe(type: number, wanted: number): boolean {
  return type === wanted || type === DT_UNKNOWN;
}
