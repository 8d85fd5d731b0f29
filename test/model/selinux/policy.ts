/** Trees that hold an SELinux policy. */
import { ascii, fromBytes } from "../../../src/formats/bytestring.ts";
import type { TarEntry } from "../../../src/formats/tar/entries.ts";
import { relabel } from "../../../src/model/selinux/relabel.ts";
import type { Leaf, LeafContent, Tree } from "../../../src/model/tree.ts";
import { at, dir, file, merge } from "../entries.ts";

const FILES = "etc/selinux/targeted/contexts/files";

/** Lines of `file_contexts`, and other files by what follows `file_contexts`. */
export type Policy = string | Readonly<Record<string, string>>;

/** The tree of `entries` with a policy named `targeted`. */
export function withPolicy(policy: Policy, entries: readonly TarEntry[] = []): Tree {
  const files = typeof policy === "string" ? { "": policy } : policy;
  return merge([
    ...["etc", "etc/selinux", "etc/selinux/targeted", "etc/selinux/targeted/contexts", FILES].map(
      (path) => dir(path),
    ),
    file("etc/selinux/config", "SELINUX=enforcing\nSELINUXTYPE=targeted\n"),
    ...Object.entries(files).map(([suffix, text]) => file(`${FILES}/file_contexts${suffix}`, text)),
    ...entries,
  ]);
}

export const read = (content: LeafContent): Uint8Array => {
  if (content.type !== "inline") throw new Error("expected content");
  return content.data;
};

/** A tree with a policy, labelled by it. */
export function labelled(policy: Policy, entries: readonly TarEntry[]): Tree {
  const tree = withPolicy(policy, entries);
  relabel(tree, read);
  return tree;
}

/** The label of what is at a path. */
export function label(tree: Tree, path: string): string | undefined {
  const value = at(tree, path).stat.xattrs.get(ascii("security.selinux"));
  return value === undefined ? undefined : fromBytes(value);
}

/** The labels at some paths. */
export function labels(tree: Tree, ...paths: string[]): Record<string, string | undefined> {
  return Object.fromEntries(paths.map((path) => [path, label(tree, path)]));
}

/** The leaf at a path. */
export function leafAt(tree: Tree, path: string): Leaf {
  const node = at(tree, path);
  if (node.type !== "leaf") throw new Error(`${path} is a directory`);
  return node;
}
