/** Writes composefs dump files: see dumpfile.ts. */
import { type ByteString, fromBytes } from "./bytestring.ts";
import { objectPath, toHex } from "./digest.ts";
import { escapeField, escapeOptional, S_IFDIR, TYPE_BITS } from "./dumpfile-fields.ts";
import {
  countLinks,
  type Directory,
  type Leaf,
  type Node,
  type Stat,
  sortedEntries,
  type Tree,
} from "./tree.ts";

/** The tree as the lines of a dump file, each with its newline: directories before their entries, in byte order. */
export function* dumpLines(tree: Tree): Generator<string> {
  const links = countLinks(tree);
  /** Where each leaf that has several names was met first. */
  const first = new Map<Leaf, ByteString>();
  const pending: [ByteString, Node][] = [["/" as ByteString, tree]];
  for (let item = pending.pop(); item !== undefined; item = pending.pop()) {
    const [path, node] = item;
    if (node.type === "directory") {
      const entries = sortedEntries(node);
      yield directoryLine(path, node);
      const prefix = path === "/" ? path : `${path}/`;
      for (const [name, child] of entries.reverse()) {
        pending.push([(prefix + name) as ByteString, child]);
      }
      continue;
    }
    const target = first.get(node);
    if (target !== undefined) {
      yield `${escapeField(path, "plain")} 0 @120000 - - - - 0.0 ${escapeOptional(target)} - -\n`;
      continue;
    }
    const nlink = links.get(node)!;
    if (nlink > 1) first.set(node, path);
    yield leafLine(path, node, nlink);
  }
}

/** The tree as a dump file, byte for byte as composefs-rs writes it. It is ASCII. */
export function formatDumpfile(tree: Tree): string {
  return [...dumpLines(tree)].join("");
}

function directoryLine(path: ByteString, directory: Directory): string {
  let nlink = 2;
  for (const child of directory.entries.values()) if (child.type === "directory") nlink++;
  return line(path, directory.stat, S_IFDIR, { nlink });
}

function leafLine(path: ByteString, leaf: Leaf, nlink: number): string {
  const content = leaf.content;
  const write = (rest: Partial<LineFields>) =>
    line(path, leaf.stat, TYPE_BITS[content.type], { nlink, ...rest });
  switch (content.type) {
    case "inline":
      return write({
        size: content.data.length,
        content: escapeOptional(fromBytes(content.data)),
      });
    case "external": {
      const hex = toHex(content.digest);
      return write({ size: content.size, payload: objectPath(hex), digest: hex });
    }
    case "sparse":
      return write({ size: content.size });
    case "symlink":
      return write({ size: content.target.length, payload: escapeOptional(content.target) });
    case "chardev":
    case "blockdev":
      return write({ rdev: content.rdev });
    default:
      return write({});
  }
}

interface LineFields {
  readonly size: number;
  readonly nlink: number;
  readonly rdev: number;
  readonly payload: string;
  readonly content: string;
  readonly digest: string;
}

function line(path: ByteString, stat: Stat, type: number, given: Partial<LineFields>): string {
  const { size = 0, nlink = 1, rdev = 0, payload = "-", content = "-", digest = "-" } = given;
  const mode = (type | stat.mode).toString(8);
  const fields = [escapeField(path, "plain"), size, mode, nlink, stat.uid, stat.gid, rdev];
  fields.push(`${stat.mtimeSec}.${stat.mtimeNsec}`, payload, content, digest);
  const xattrs = [...stat.xattrs].sort(([a], [b]) => (a < b ? -1 : 1));
  for (const [key, value] of xattrs) {
    fields.push(`${escapeField(key, "escaped")}=${escapeField(fromBytes(value), "escaped")}`);
  }
  return `${fields.join(" ")}\n`;
}
