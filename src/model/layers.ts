/**
 * Layers of a container image, merged into one tree.
 *
 * The rules are composefs-rs's, as the tree decides the image's digest: entries are applied one after the other, also a
 * whiteout to what its own layer put there before; directories are never made up; symbolic links are never followed.
 */
import { ascii, type ByteString, display } from "../formats/bytestring.ts";
import type { TarEntry, TarItem } from "../formats/tar/entries.ts";
import {
  type Directory,
  type Leaf,
  type LeafContent,
  NO_XATTRS,
  type Node,
  type Tree,
} from "./tree.ts";

export interface Layer {
  /** For messages. */
  readonly name: string;
  readonly entries: Iterable<TarEntry>;
}

const WHITEOUT_PREFIX = ".wh.";
const OPAQUE = ".wh..wh..opq";

/** Merges layers, the lowest first. An error names the layer and the path. */
export function mergeLayers(layers: Iterable<Layer>): Tree {
  const root: Tree = {
    type: "directory",
    stat: { mode: 0o755, uid: 0, gid: 0, mtimeSec: 0n, mtimeNsec: 0, xattrs: NO_XATTRS },
    entries: new Map(),
  };
  for (const { name, entries } of layers) {
    try {
      for (const entry of entries) {
        try {
          applyEntry(root, entry);
        } catch (error) {
          throw new Error(`"${display(entry.path)}"`, { cause: error });
        }
      }
    } catch (error) {
      throw new Error(`layer ${name}`, { cause: error });
    }
  }
  return root;
}

function applyEntry(root: Tree, { path, stat, item }: TarEntry): void {
  const components = pathComponents(path);
  if (components.length === 0 || components.at(-1) === "..") {
    if (item.type !== "directory") throw new Error("expected a directory, it is the root");
    root.stat = stat;
    return;
  }
  const node: Node =
    item.type === "directory"
      ? { type: "directory", stat, entries: new Map() }
      : item.type === "hardlink"
        ? linkTarget(root, item.target)
        : { type: "leaf", stat, content: contentOf(item) };

  const parent = findDirectory(root, components, components.length - 1);
  const name = components.at(-1)!;
  if (name === OPAQUE) parent.entries.clear();
  else if (name.startsWith(WHITEOUT_PREFIX)) {
    parent.entries.delete(name.slice(WHITEOUT_PREFIX.length) as ByteString);
  } else {
    const old = parent.entries.get(name);
    if (old?.type === "directory" && node.type === "directory") old.stat = stat;
    else parent.entries.set(name, node);
  }
}

function contentOf(item: Exclude<TarItem, { type: "directory" | "hardlink" }>): LeafContent {
  return item.type === "external" ? { ...item, verity: true } : item;
}

/** A hard link shares the leaf that its target is now; what the entry itself says about owner and mode is void. */
function linkTarget(root: Tree, target: ByteString): Leaf {
  try {
    const components = pathComponents(target);
    const name = components.at(-1);
    if (name === undefined || name === "..") throw new Error("expected the path of a file");
    const leaf = findDirectory(root, components, components.length - 1).entries.get(name);
    if (leaf === undefined) throw new Error("there is no such file");
    if (leaf.type === "directory") throw new Error("is a directory");
    return leaf;
  } catch (error) {
    throw new Error(`hard link to "${display(target)}"`, { cause: error });
  }
}

/** The directory that the first `count` components lead to. */
function findDirectory(root: Tree, components: readonly ByteString[], count: number): Directory {
  let directory = root;
  for (let i = 0; i < count; i++) {
    const name = components[i]!;
    const fail = (why: string) =>
      new Error(`"${display(ascii(components.slice(0, i + 1).join("/")))}" ${why}`);
    if (name === "..") throw fail('goes through ".."');
    const node = directory.entries.get(name);
    if (node === undefined) throw fail("does not exist");
    if (node.type !== "directory") throw fail("is not a directory");
    directory = node;
  }
  return directory;
}

/** Without empty components and ".". */
function pathComponents(path: ByteString): ByteString[] {
  return (path.split("/") as ByteString[]).filter((name) => name !== "" && name !== ".");
}
