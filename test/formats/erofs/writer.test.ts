import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ascii } from "../../../src/formats/bytestring.ts";
import { toHex } from "../../../src/formats/digest.ts";
import { formatDumpfile, parseDumpfile } from "../../../src/formats/dumpfile.ts";
import { writeErofs } from "../../../src/formats/erofs/index.ts";
import type { Directory, Leaf, LeafContent, Stat, Tree } from "../../../src/formats/tree.ts";
import { digestBytes } from "../../../userspace/hash.ts";
import { arbitraryTree } from "./arbitrary-tree.ts";
import { FORMATS, readDump, vectors } from "./vectors.ts";

const stat = (): Stat => ({
  mode: 0o755,
  uid: 0,
  gid: 0,
  mtimeSec: 0n,
  mtimeNsec: 0,
  xattrs: new Map(),
});
const directory = (entries: [string, Directory | Leaf][] = []): Directory => ({
  type: "directory",
  stat: stat(),
  entries: new Map(entries.map(([name, node]) => [ascii(name), node])),
});
const leaf = (content: LeafContent): Leaf => ({ type: "leaf", stat: stat(), content });

test.each(vectors)("$dump, $hash, format $format", ({ dump, hash, format, ...expected }) => {
  const { tree } = parseDumpfile(readDump(dump), { hash });
  const image = writeErofs(tree, { format });
  expect({
    size: image.length,
    sha256: createHash("sha256").update(image).digest("hex"),
    digest: toHex(digestBytes(hash, image)),
  }).toEqual(expected);
});

test.each(FORMATS)("the tree is left as it is, format %d", (format) => {
  fc.assert(
    fc.property(arbitraryTree(format), (tree) => {
      const before = formatDumpfile(tree);
      const order = [...tree.entries.keys()];
      writeErofs(tree, { format });
      expect(formatDumpfile(tree)).toBe(before);
      expect([...tree.entries.keys()]).toEqual(order);
    }),
    { numRuns: 20 },
  );
});

test("the order in which a tree was put together does not matter", () => {
  fc.assert(
    fc.property(arbitraryTree(1), (tree) => {
      const copies = new Map<Leaf, Leaf>();
      const reversed = (node: Directory): Directory => {
        const copy: Directory = {
          ...node,
          stat: { ...node.stat, xattrs: new Map([...node.stat.xattrs].reverse()) },
          entries: new Map(),
        };
        for (const [name, child] of [...node.entries].reverse()) {
          if (child.type === "directory") {
            copy.entries.set(name, reversed(child));
            continue;
          }
          if (!copies.has(child)) copies.set(child, { ...child });
          copy.entries.set(name, copies.get(child)!);
        }
        return copy;
      };
      const image = writeErofs(tree, { format: 1 });
      expect(Buffer.compare(writeErofs(reversed(tree), { format: 1 }), image)).toBe(0);
    }),
    { numRuns: 20 },
  );
});

test("a hundred thousand files take seconds", () => {
  const tree = directory();
  for (let i = 0; i < 500; i++) {
    const files: [string, Leaf][] = [];
    for (let k = 0; k < 200; k++) {
      const digest = new Uint8Array(64).fill(k);
      new DataView(digest.buffer).setUint32(0, i);
      files.push([`file-${k}`, leaf({ type: "external", size: k, digest, verity: true })]);
    }
    tree.entries.set(ascii(`directory-${i}`), directory(files));
  }
  const started = performance.now();
  writeErofs(tree, { format: 1 });
  // what is quadratic takes minutes
  expect(performance.now() - started).toBeLessThan(30_000);
});

describe("a tree that no image can hold is an error that names the path", () => {
  const whiteout = leaf({ type: "chardev", rdev: 0 });
  const shared = directory();
  const loop = directory();
  loop.entries.set(ascii("self"), loop);
  const deep = directory();
  for (let i = 0, last = deep; i < 3000; i++) {
    const next = directory();
    last.entries.set(ascii("d"), next);
    last = next;
  }
  const digest = (bytes: number) => new Uint8Array(bytes);
  const cases: [string, Tree, string][] = [
    ["a name with a slash", directory([["a/b", directory()]]), "/a/b: not a file name"],
    ["an empty name", directory([["", directory()]]), "/: not a file name"],
    ["..", directory([["d", directory([["..", directory()]])]]), "/d/..: not a file name"],
    ["a long name", directory([["n".repeat(256), directory()]]), "name of 256 bytes"],
    [
      "a whiteout with two names",
      directory([
        ["d", directory([["a", whiteout]])],
        ["b", whiteout],
      ]),
      "/d/a: a whiteout with more than one name",
    ],
    [
      "a directory with two names",
      directory([
        ["a", shared],
        ["b", shared],
      ]),
      "/b: a directory with two names",
    ],
    ["a directory inside itself", loop, "/self: a directory with two names"],
    ["too deep", deep, "more than 2049 directories deep"],
    [
      "a file too large for a chunk index",
      directory([["f", leaf({ type: "sparse", size: 2 ** 53 + 2 })]]),
      "/f: file of size 9007199254740994",
    ],
    [
      "digests of two hashes",
      directory([
        ["a", leaf({ type: "external", size: 1, digest: digest(32), verity: true })],
        ["b", leaf({ type: "external", size: 1, digest: digest(64), verity: true })],
      ]),
      "/b: digest of another hash",
    ],
    [
      "a digest that is none",
      directory([["a", leaf({ type: "external", size: 1, digest: digest(20), verity: true })]]),
      "/a: digest of 20 bytes",
    ],
    [
      "an empty symlink",
      directory([["l", leaf({ type: "symlink", target: ascii("") })]]),
      "/l: not the target of a symlink",
    ],
    [
      "a long symlink",
      directory([["l", leaf({ type: "symlink", target: ascii("t".repeat(4096)) })]]),
      "/l: symlink to a target of length 4096",
    ],
    ["a uid", { ...directory(), stat: { ...stat(), uid: 2 ** 32 } }, "/: uid 4294967296"],
    [
      "a large xattr",
      {
        ...directory(),
        stat: { ...stat(), xattrs: new Map([[ascii("user.a"), new Uint8Array(65536)]]) },
      },
      "/: xattr user.a of 65536 bytes",
    ],
  ];
  test.each(cases)("%s", (_, tree, message) => {
    let thrown: unknown;
    try {
      writeErofs(tree, { format: 1 });
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(Error);
    const { message: path, cause } = thrown as Error;
    expect(`${path}: ${(cause as Error).message}`).toContain(message);
  });

  test("what only format 2 cannot hold", () => {
    const tree = directory([["f", leaf({ type: "inline", data: new Uint8Array(513) })]]);
    expect(() => writeErofs(tree, { format: 2 })).toThrow("/f");
    expect(() => writeErofs(tree, { format: 1 })).not.toThrow();
  });
});
