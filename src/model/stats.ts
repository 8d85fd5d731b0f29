/** Walking over the metadata of a tree. */
import type { Directory, Stat, Tree } from "./tree.ts";

/** Calls `visit` for every inode of the tree; for one with several names as often as it has names. */
export function forEachStat(tree: Tree, visit: (stat: Stat) => void): void {
  const pending: Directory[] = [tree];
  for (let directory = pending.pop(); directory !== undefined; directory = pending.pop()) {
    visit(directory.stat);
    for (const node of directory.entries.values()) {
      if (node.type === "directory") pending.push(node);
      else visit(node.stat);
    }
  }
}
