/**
 * What differs between two states of `/etc`.
 *
 * An entry is changed if its type, owner, mode, extended attributes, flags, content, target or device number differ. Modification
 * times and hard links do not count: a copy or a touched file is no decision of anybody's.
 */
import type { ByteString } from "../../formats/bytestring.ts";
import {
  asDirectory,
  below,
  type EtcContent,
  type EtcDirectory,
  type EtcEntry,
  type EtcLeaf,
  type EtcStat,
  type EtcType,
  namesOf,
  typeOf,
} from "./tree.ts";

export type EtcAspect =
  | "type"
  | "content"
  | "target"
  | "device"
  | "uid"
  | "gid"
  | "mode"
  | "xattrs"
  /** chattr(1) */
  | "flags"
  /** It may differ: nobody may read it. */
  | "unreadable";

export interface EtcChange {
  /** Relative to the directory; "" is the directory itself. */
  readonly path: ByteString;
  /** "unreadable": nothing is known to have changed, but not everything could be read. */
  readonly kind: "added" | "modified" | "removed" | "unreadable";
  /** What it is now, or was if it is removed. */
  readonly type: EtcType;
  /** What it was, where the type has changed. */
  readonly was?: EtcType;
  /** What differs. Empty if it is added or removed. */
  readonly aspects: readonly EtcAspect[];
}

/**
 * The changes from `before` to `after`, parents before what is below them, otherwise in the order of the names. A
 * directory that was added is listed with all that is in it, one that was removed alone.
 */
export function compareEtc(before: EtcDirectory, after: EtcDirectory): EtcChange[] {
  const changes: EtcChange[] = [];
  comparePath("" as ByteString, before, after, changes);
  return changes;
}

function comparePath(
  path: ByteString,
  before: EtcEntry | undefined,
  after: EtcEntry | undefined,
  changes: EtcChange[],
): void {
  if (before === after) return;
  if (after === undefined) {
    if (before !== undefined)
      changes.push({ path, kind: "removed", type: typeOf(before), aspects: [] });
    return;
  }
  const type = typeOf(after);
  if (before === undefined) changes.push({ path, kind: "added", type, aspects: [] });
  else {
    const aspects = differences(before, after);
    const unknown = aspects.every((aspect) => aspect === "unreadable");
    const was = aspects.includes("type") ? { was: typeOf(before) } : {};
    if (aspects.length > 0)
      changes.push({ path, kind: unknown ? "unreadable" : "modified", type, ...was, aspects });
  }
  if (after.type !== "directory" || after.unreadable) return;
  const old = asDirectory(before);
  if (old?.unreadable) return;
  for (const name of namesOf(old, after)) {
    comparePath(below(path, name), old?.entries.get(name), after.entries.get(name), changes);
  }
}

/** What differs between two entries themselves, not between what is below them. */
export function differences(a: EtcEntry, b: EtcEntry): EtcAspect[] {
  if (a === b) return [];
  const found: EtcAspect[] = [];
  if (typeOf(a) !== typeOf(b)) found.push("type");
  else if (a.type === "leaf" && b.type === "leaf")
    found.push(...contentDifferences(a.content, b.content));
  else if (asDirectory(a)?.unreadable || asDirectory(b)?.unreadable) found.push("unreadable");
  if (a.stat.uid !== b.stat.uid) found.push("uid");
  if (a.stat.gid !== b.stat.gid) found.push("gid");
  // that of a symlink means nothing
  const modes = a.stat.mode !== b.stat.mode && typeOf(a) !== "symlink";
  if (modes && !found.includes("type")) found.push("mode");
  if (!sameXattrs(a.stat.xattrs, b.stat.xattrs)) found.push("xattrs");
  if (a.stat.immutable !== b.stat.immutable || a.stat.appendOnly !== b.stat.appendOnly)
    found.push("flags");
  return found;
}

function contentDifferences(a: EtcContent, b: EtcContent): EtcAspect[] {
  if (a.type === "file" && b.type === "file") {
    if (a.data === b.data) return [];
    if (a.data.size !== b.data.size) return ["content"];
    const [one, other] = [a.data.digest(), b.data.digest()];
    if (one === undefined || other === undefined) return ["unreadable"];
    return one === other ? [] : ["content"];
  }
  if (a.type === "symlink" && b.type === "symlink") return a.target === b.target ? [] : ["target"];
  if ("rdev" in a && "rdev" in b) return a.rdev === b.rdev ? [] : ["device"];
  return [];
}

/** Whether two leaves hold the same, whoever owns them. */
export function sameContent(a: EtcContent, b: EtcContent): boolean {
  return a.type === b.type && contentDifferences(a, b).length === 0;
}

export function sameBytes(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

function sameXattrs(a: EtcStat["xattrs"], b: EtcStat["xattrs"]): boolean {
  return a.size === b.size && [...a].every(([name, value]) => sameBytes(value, b.get(name)));
}

/** Whether two entries do not differ, nor anything below them. */
export function sameTree(a: EtcEntry, b: EtcEntry): boolean {
  if (differences(a, b).length > 0) return false;
  if (a.type !== "directory" || b.type !== "directory") return true;
  if (a.entries.size !== b.entries.size) return false;
  return [...a.entries].every(([name, node]) => {
    const other = b.entries.get(name);
    return other !== undefined && sameTree(node, other);
  });
}

/** Whether something was added or modified from `before` to `after`, in the directory or below; removals do not count. */
export function hasNewBelow(before: EtcDirectory, after: EtcDirectory): boolean {
  return compareEtc(before, after).some(({ kind }) => kind !== "removed");
}

export function sameTime(a: EtcStat, b: EtcStat): boolean {
  return a.mtimeSec === b.mtimeSec && a.mtimeNsec === b.mtimeNsec;
}

/** All paths of a leaf that has several, as one string; of a leaf that has one, "". */
export type LinkNames = (leaf: EtcLeaf) => string;

/** Finds the hard links of a tree. */
export function linkNames(root: EtcDirectory): LinkNames {
  const paths = new Map<EtcLeaf, ByteString[]>();
  const visit = (directory: EtcDirectory, at: ByteString) => {
    for (const [name, node] of directory.entries) {
      const path = below(at, name);
      if (node.type === "directory") visit(node, path);
      else {
        const known = paths.get(node);
        if (known === undefined) paths.set(node, [path]);
        else known.push(path);
      }
    }
  };
  visit(root, "" as ByteString);
  return (leaf) => {
    const names = paths.get(leaf) ?? [];
    return names.length < 2 ? "" : names.sort().join("\0");
  };
}
