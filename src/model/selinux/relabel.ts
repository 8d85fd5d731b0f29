/** SELinux labels of a bootable image's tree. */
import { ascii, type ByteString, display } from "../../formats/bytestring.ts";
import type { FileType } from "../../formats/file-contexts.ts";
import { forEachStat } from "../stats.ts";
import {
  type Directory,
  type Leaf,
  type LeafContent,
  NO_XATTRS,
  type Node,
  type Stat,
  sortedEntries,
  type Tree,
  type Xattrs,
} from "../tree.ts";
import type { Labels, Place } from "./labels.ts";
import { type ReadContent, readPolicy } from "./policy.ts";

const XATTR = ascii("security.selinux");

const TYPES: Readonly<Record<LeafContent["type"], FileType>> = {
  inline: "-",
  external: "-",
  sparse: "-",
  symlink: "l",
  chardev: "c",
  blockdev: "b",
  fifo: "p",
  socket: "s",
};

/**
 * Labels the tree as its own policy says, in place, or removes all labels if it has no policy. A path that the policy gives
 * no label to has none afterwards.
 *
 * An inode has one label. Of a hard link's names the first one, in the order of the walk, decides; those that would have
 * another label get an inode each.
 */
export function relabel(tree: Tree, read: ReadContent): void {
  const labels = readPolicy(tree, read);
  if (labels === undefined) {
    forEachStat(tree, (stat) => setLabel(stat, undefined));
    return;
  }
  const labelled = new Map<Leaf, Uint8Array | undefined>();
  for (const { node, place, parent, name } of walk(tree, labels)) {
    try {
      if (node.type === "directory") {
        setLabel(node.stat, labels.label(place, "d"));
        continue;
      }
      const label = labels.label(place, TYPES[node.content.type]);
      if (!labelled.has(node)) {
        labelled.set(node, label);
        setLabel(node.stat, label);
      } else if (labelled.get(node) !== label) {
        const own = { ...node, stat: { ...node.stat } };
        setLabel(own.stat, label);
        parent.entries.set(name, own);
      }
    } catch (error) {
      throw new Error(`SELinux label of "${display(place.path)}"`, { cause: error });
    }
  }
}

/** Most inodes have no other xattr: those that have the same label share it. */
const onlyLabel = new WeakMap<Uint8Array, Xattrs>();

function setLabel(stat: Stat, label: Uint8Array | undefined): void {
  if (stat.xattrs.size > (stat.xattrs.has(XATTR) ? 1 : 0)) {
    const xattrs = new Map(stat.xattrs);
    if (label === undefined) xattrs.delete(XATTR);
    else xattrs.set(XATTR, label);
    stat.xattrs = xattrs;
  } else if (label === undefined) {
    stat.xattrs = NO_XATTRS;
  } else {
    const xattrs = onlyLabel.get(label) ?? new Map([[XATTR, label]]);
    onlyLabel.set(label, xattrs);
    stat.xattrs = xattrs;
  }
}

interface Visit {
  readonly node: Node;
  readonly place: Place;
  readonly parent: Directory;
  readonly name: ByteString;
}

/** All of the tree, directories before what is in them, entries in the order of their names. */
function* walk(tree: Tree, labels: Labels): Generator<Visit> {
  const pending: Visit[] = [{ node: tree, place: labels.root(), parent: tree, name: ascii("") }];
  for (let visit = pending.pop(); visit !== undefined; visit = pending.pop()) {
    yield visit;
    const { node, place } = visit;
    if (node.type !== "directory") continue;
    const below: Visit[] = sortedEntries(node).map(([name, child]) => ({
      node: child,
      place: labels.entry(place, name),
      parent: node,
      name,
    }));
    for (const child of below.reverse()) pending.push(child);
  }
}
