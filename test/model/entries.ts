/** Entries of layers, and trees as text. */
import { ascii, type ByteString, fromText } from "../../src/formats/bytestring.ts";
import type { TarEntry, TarItem } from "../../src/formats/tar/entries.ts";
import { mergeLayers } from "../../src/model/layers.ts";
import { type Directory, type Node, sortedEntries, type Tree } from "../../src/model/tree.ts";

const entry = (path: string, item: TarItem, stat: Partial<TarEntry["stat"]>): TarEntry => ({
  offset: 0,
  path: fromText(path),
  stat: {
    mode: item.type === "directory" ? 0o755 : 0o644,
    uid: 0,
    gid: 0,
    mtimeSec: 0n,
    mtimeNsec: 0,
    xattrs: new Map(),
    ...stat,
  },
  item,
});

export type StatFields = Partial<TarEntry["stat"]>;

export const dir = (path: string, stat: StatFields = {}) =>
  entry(path, { type: "directory" }, stat);
export const file = (path: string, content = "", stat: StatFields = {}) =>
  entry(path, { type: "inline", data: new Uint8Array(Buffer.from(content)) }, stat);
export const link = (path: string, target: string) =>
  entry(path, { type: "hardlink", target: fromText(target) }, { mode: 0o777 });
export const symlink = (path: string, target: string) =>
  entry(path, { type: "symlink", target: fromText(target) }, {});
export const xattrs = (values: Record<string, string>): Map<ByteString, Uint8Array> =>
  new Map(Object.entries(values).map(([k, v]) => [ascii(k), new Uint8Array(Buffer.from(v))]));

/** The tree of these layers, named a, b, c … */
export function merge(...layers: TarEntry[][]): Tree {
  return mergeLayers(layers.map((entries, i) => ({ name: "abcdef"[i]!, entries })));
}

/** All paths, sorted. */
export function paths(tree: Tree): string[] {
  const out = ["/"];
  const walk = (directory: Directory, prefix: string) => {
    for (const [name, node] of sortedEntries(directory)) {
      out.push(prefix + name);
      if (node.type === "directory") walk(node, `${prefix}${name}/`);
    }
  };
  walk(tree, "/");
  return out;
}

/** What is at a path. */
export function at(tree: Tree, path: string): Node {
  let node: Node = tree;
  for (const name of path.split("/").filter((name) => name !== "")) {
    const next: Node | undefined =
      node.type === "directory" ? node.entries.get(fromText(name)) : undefined;
    if (next === undefined) throw new Error(`nothing at ${path}`);
    node = next;
  }
  return node;
}
