/**
 * What the C tools (mkcomposefs 1.0) read and write beyond what a tree says. They number and store an image like
 * composefs-rs, but take more from a dump file as it is, and choose the format by what is in the tree.
 */
import type { ByteString } from "../bytestring.ts";
import type { Directory, Leaf, Tree } from "../tree.ts";
import { isWhiteout } from "./check-tree.ts";

/** Where a leaf's inode is numbered. */
export interface Home {
  readonly directory: Directory;
  readonly name: ByteString;
}

export interface CInput {
  /** `st_nlink` of leaves, where it is not the number of their names. */
  readonly links: ReadonlyMap<Leaf, number>;
  /** Where overlayfs looks for the content of external files, where it is not the object of their digest; "" is nowhere. */
  readonly redirects: ReadonlyMap<Leaf, ByteString>;
  /** The name of a leaf that its other names are links to, where it is not the first one, depth first. */
  readonly homes: ReadonlyMap<Leaf, Home>;
}

/** For a tree that says it all. */
export const NO_C_INPUT: CInput = { links: new Map(), redirects: new Map(), homes: new Map() };

/** Whether the tree has a whiteout: format 1 is for these. */
export function holdsWhiteout(tree: Tree): boolean {
  const pending: Directory[] = [tree];
  for (let directory = pending.pop(); directory !== undefined; directory = pending.pop()) {
    for (const node of directory.entries.values()) {
      if (node.type === "directory") pending.push(node);
      else if (isWhiteout(node.content)) return true;
    }
  }
  return false;
}
