/** How two images' trees differ, modification times apart: those of a rebuilt image are all new. */
import { type ByteString, fromText } from "../formats/bytestring.ts";
import { sameDigest } from "../formats/digest.ts";
import type { Directory, Leaf, LeafContent, Node, Stat, Xattrs } from "../formats/tree.ts";

export type NodeType =
  | "directory"
  | "file"
  | "symlink"
  | "character device"
  | "block device"
  | "fifo"
  | "socket";

export type Aspect = "type" | "content" | "target" | "device" | "mode" | "owner" | "xattrs";

export interface TreeChange {
  readonly change: "added" | "removed" | "changed";
  /** Absolute; `/` for the root. */
  readonly path: ByteString;
  /** Of what is there now, or was there if it is removed. */
  readonly type: NodeType;
  /** Of a file, in bytes; `undefined` where there is none on that side. */
  readonly before: number | undefined;
  readonly after: number | undefined;
  /** What is another; empty if it was added or removed. */
  readonly aspects: readonly Aspect[];
}

/** All changes, in byte order of the paths, directories before what is in them. */
export function diffTrees(before: Directory, after: Directory): TreeChange[] {
  const changes: TreeChange[] = [];
  const both = (path: ByteString, a: Node, b: Node) => {
    const aspects = differences(a, b);
    if (aspects.length > 0) changes.push(changeOf("changed", path, b, a, aspects));
    const [from, to] = [a, b].map((node) => (node.type === "directory" ? node : undefined));
    if (from === undefined && to === undefined) return;
    if (from !== undefined && to === undefined) return inside("removed", path, from);
    if (from === undefined && to !== undefined) return inside("added", path, to);
    const names = new Set([...from!.entries.keys(), ...to!.entries.keys()]);
    for (const name of [...names].sort()) {
      const [was, is] = [from!.entries.get(name), to!.entries.get(name)];
      const inner = below(path, name);
      if (was !== undefined && is !== undefined) both(inner, was, is);
      else if (is !== undefined) one("added", inner, is);
      else if (was !== undefined) one("removed", inner, was);
    }
  };
  const one = (change: "added" | "removed", path: ByteString, node: Node) => {
    changes.push(changeOf(change, path, node, undefined, []));
    if (node.type === "directory") inside(change, path, node);
  };
  const inside = (change: "added" | "removed", path: ByteString, directory: Directory) => {
    for (const name of [...directory.entries.keys()].sort()) {
      one(change, below(path, name), directory.entries.get(name)!);
    }
  };
  both(fromText("/"), before, after);
  return changes;
}

function below(path: ByteString, name: ByteString): ByteString {
  return `${path === "/" ? "" : path}/${name}` as ByteString;
}

function changeOf(
  change: TreeChange["change"],
  path: ByteString,
  node: Node,
  was: Node | undefined,
  aspects: readonly Aspect[],
): TreeChange {
  const size = sizeOf(node);
  return {
    change,
    path,
    type: typeOf(node),
    before: change === "removed" ? size : was === undefined ? undefined : sizeOf(was),
    after: change === "removed" ? undefined : size,
    aspects,
  };
}

function differences(a: Node, b: Node): Aspect[] {
  const aspects: Aspect[] = [];
  if (typeOf(a) !== typeOf(b)) aspects.push("type");
  else if (a.type === "leaf" && b.type === "leaf") aspects.push(...contentAspects(a, b));
  if (a.stat.mode !== b.stat.mode) aspects.push("mode");
  if (a.stat.uid !== b.stat.uid || a.stat.gid !== b.stat.gid) aspects.push("owner");
  if (!sameXattrs(a.stat, b.stat)) aspects.push("xattrs");
  return aspects;
}

function contentAspects({ content: a }: Leaf, { content: b }: Leaf): Aspect[] {
  if (a.type === "symlink" && b.type === "symlink") return a.target === b.target ? [] : ["target"];
  if ("rdev" in a && "rdev" in b) return a.rdev === b.rdev ? [] : ["device"];
  return sameBytes(a, b) ? [] : ["content"];
}

function sameBytes(a: LeafContent, b: LeafContent): boolean {
  if (a.type === "inline" && b.type === "inline") return equal(a.data, b.data);
  if (a.type === "external" && b.type === "external") return sameDigest(a.digest, b.digest);
  if (a.type === "sparse" && b.type === "sparse") return a.size === b.size;
  return a.type === b.type; // a FIFO, a socket
}

function sameXattrs({ xattrs: a }: Stat, { xattrs: b }: Stat): boolean {
  return a === b || (a.size === b.size && [...a].every(([name, value]) => has(b, name, value)));
}

function has(xattrs: Xattrs, name: ByteString, value: Uint8Array): boolean {
  const other = xattrs.get(name);
  return other !== undefined && equal(value, other);
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

function sizeOf(node: Node): number | undefined {
  if (node.type === "directory") return undefined;
  const { content } = node;
  if (content.type === "inline") return content.data.length;
  return content.type === "external" || content.type === "sparse" ? content.size : undefined;
}

function typeOf(node: Node): NodeType {
  if (node.type === "directory") return "directory";
  switch (node.content.type) {
    case "symlink":
    case "fifo":
    case "socket":
      return node.content.type;
    case "chardev":
      return "character device";
    case "blockdev":
      return "block device";
    default:
      return "file";
  }
}
