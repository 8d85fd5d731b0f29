/** Random dump files with what only the C tools take: link counts, links to later entries, object paths of any kind. */
import fc from "fast-check";
import { formatDumpfile } from "../../src/formats/dumpfile.ts";
import type { Leaf, Tree } from "../../src/formats/tree.ts";
import { arbitraryTree } from "../formats/erofs/arbitrary-tree.ts";

const MAX_INLINE_C = 5000;
const FIELD = { path: 0, size: 1, mode: 2, nlink: 3, rdev: 6, payload: 8, content: 9, digest: 10 };

/** How a line is changed: the numbers choose among what there is. */
interface Change {
  readonly at: number;
  readonly what: "links" | "payload" | "no digest" | "no payload" | "empty" | "later";
  readonly value: number;
}

const change: fc.Arbitrary<Change> = fc.record({
  at: fc.nat(),
  what: fc.constantFrom("links", "payload", "no digest", "no payload", "empty", "later"),
  value: fc.nat(),
});

const PAYLOADS = ["x", "a/b/c", "/abs", "..", "sp\\x20ace", "\\xff\\x80", "a=b", "p".repeat(300)];

export const arbitraryDumpfile: fc.Arbitrary<string> = fc
  .tuple(arbitraryTree(1), fc.array(change, { maxLength: 12 }))
  .map(([tree, changes]) => {
    limitContent(tree);
    const lines = formatDumpfile(tree).trimEnd().split("\n");
    for (const each of changes) apply(lines, each);
    return `${lines.join("\n")}\n`;
  });

/** Cuts inline files to what the C tools take. */
export function limitContent(tree: Tree): void {
  const visit = (directory: Tree) => {
    for (const node of directory.entries.values()) {
      if (node.type === "directory") visit(node);
      else limitLeaf(node);
    }
  };
  visit(tree);
}

function limitLeaf(leaf: Leaf): void {
  const { content } = leaf;
  if (content.type === "inline" && content.data.length > MAX_INLINE_C) {
    leaf.content = { type: "inline", data: content.data.subarray(0, MAX_INLINE_C) };
  }
}

function apply(lines: string[], { at, what, value }: Change): void {
  const index = at % lines.length;
  const fields = lines[index]!.split(" ");
  const isLink = fields[FIELD.mode]!.startsWith("@");
  const isDirectory = /^4\d{4}$/.test(fields[FIELD.mode]!);
  const isExternal = /^10\d{4}$/.test(fields[FIELD.mode]!) && fields[FIELD.payload] !== "-";
  if (what === "later") {
    // a link, or what it links to, comes at the end; directories must stay where they are
    if (!isDirectory) lines.push(...lines.splice(index, 1));
    return;
  }
  if (isLink || isDirectory) return;
  if (what === "links") fields[FIELD.nlink] = String([0, 1, 2, 65535, 65536][value % 5]);
  if (isExternal && what === "payload") fields[FIELD.payload] = PAYLOADS[value % PAYLOADS.length]!;
  if (isExternal && what === "no digest") fields[FIELD.digest] = "-";
  if (isExternal && what === "no payload") fields[FIELD.payload] = "-";
  if (isExternal && what === "empty") fields[FIELD.size] = "0";
  lines[index] = fields.join(" ");
}
