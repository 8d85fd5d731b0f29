/**
 * A configuration directory as the merge sees it. Plain data but for the content of files, which whoever made the tree
 * reads when somebody asks.
 *
 * Hard links are several entries that refer to the same `EtcLeaf` object, as in the tree of an image.
 */
import type { ByteString } from "../../formats/bytestring.ts";

export interface EtcStat {
  /** The twelve permission bits (07777). */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeSec: bigint;
  readonly mtimeNsec: number;
  /** All of them, ACLs (`system.posix_acl_*`) and labels included. */
  readonly xattrs: ReadonlyMap<ByteString, Uint8Array>;
  /** `chattr +i`. Only files and directories have it, and never the directory that is the whole tree. */
  readonly immutable?: true;
  /** `chattr +a`; the same. */
  readonly appendOnly?: true;
}

/** The bytes of a regular file. */
export interface FileContent {
  readonly size: number;
  /** SHA-256 in hex; `undefined` where the file may not be read. Computed at the first call. */
  digest(): string | undefined;
  /** All bytes. The merge only asks for those of files up to `MAX_TEXT` bytes. */
  read(): Uint8Array;
}

export type EtcContent =
  | { readonly type: "file"; readonly data: FileContent }
  | { readonly type: "symlink"; readonly target: ByteString }
  /** `rdev` as in `st_rdev` (Linux encoding). */
  | { readonly type: "character device"; readonly rdev: number }
  | { readonly type: "block device"; readonly rdev: number }
  | { readonly type: "fifo" }
  | { readonly type: "socket" };

export interface EtcLeaf {
  readonly type: "leaf";
  readonly stat: EtcStat;
  readonly content: EtcContent;
}

export interface EtcDirectory {
  readonly type: "directory";
  readonly stat: EtcStat;
  readonly entries: ReadonlyMap<ByteString, EtcEntry>;
  /** Set where the directory may not be read; it has no entries then. */
  readonly unreadable?: true;
}

export type EtcEntry = EtcLeaf | EtcDirectory;

/** Something is mounted here, and what is beneath cannot be seen. */
export interface EtcMount {
  readonly type: "mount";
}

/** A directory as it was found: `seeThrough` makes it one that can be compared. */
export interface FoundDirectory extends Omit<EtcDirectory, "entries"> {
  readonly entries: ReadonlyMap<ByteString, EtcLeaf | FoundDirectory | EtcMount>;
}

export type EtcType = EtcContent["type"] | "directory";

export function typeOf(node: EtcEntry): EtcType {
  return node.type === "directory" ? "directory" : node.content.type;
}

/** `directory/name`; the tree's own path is "". */
export function below(directory: ByteString, name: ByteString): ByteString {
  return directory === "" ? name : (`${directory}/${name}` as ByteString);
}

/** The names of all directories given, each once, in byte order. */
export function namesOf(...directories: readonly (EtcDirectory | undefined)[]): ByteString[] {
  const names = new Set<ByteString>();
  for (const directory of directories) {
    for (const name of directory?.entries.keys() ?? []) names.add(name);
  }
  return [...names].sort(); // one byte is one code unit
}

/** A directory, or nothing where it is something else or not there. */
export function asDirectory(node: EtcEntry | undefined): EtcDirectory | undefined {
  return node?.type === "directory" ? node : undefined;
}

/** A leaf, or nothing where it is something else or not there. */
export function asLeaf(node: EtcEntry | undefined): EtcLeaf | undefined {
  return node?.type === "leaf" ? node : undefined;
}
