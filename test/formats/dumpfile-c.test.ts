/** What C's mkcomposefs takes of a dump file, and what it refuses, was found out with version 1.0.8. */
import { describe, expect, test } from "vitest";
import { ascii, fromBytes } from "../../src/formats/bytestring.ts";
import { parseDumpfileC } from "../../src/formats/dumpfile-c.ts";
import type { Leaf, Node, Tree } from "../../src/formats/tree.ts";
import { describeError } from "../../userspace/cli/errors.ts";

const ROOT = "/ 0 40755 2 0 0 0 1.0 - - -\n";
const DIGEST = "53".repeat(32);

const parse = (...lines: string[]) =>
  parseDumpfileC(Buffer.from(ROOT + lines.join("\n"), "latin1"));

function node(tree: Tree, path: string): Node {
  let at: Node = tree;
  for (const name of path.split("/")) {
    if (at.type !== "directory") throw new Error(`${path}: not a directory`);
    at = at.entries.get(ascii(name))!;
  }
  return at;
}

const leaf = (tree: Tree, path: string) => node(tree, path) as Leaf;

function message(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    return describeError(error).message;
  }
  return "no error";
}

describe("what is taken that composefs-rs refuses", () => {
  test("fields may be missing at the end, and the newline", () => {
    const { tree } = parse("/a 0 100644 1 0 0 0 5.1 -");
    expect(leaf(tree, "a").content).toEqual({ type: "inline", data: new Uint8Array(0) });
  });

  test("links to what comes later, and to links; the entry that is no link is the file", () => {
    const { tree, cInput } = parse(
      "/a 0 @100644 - - - - 0.0 /d/b - -",
      "/d 0 40755 2 0 0 0 1.0 - - -",
      "/d/b 0 @100644 - - - - 0.0 /d/c - -",
      "/d/c 1 100644 3 0 0 0 1.0 - x -",
    );
    const file = leaf(tree, "d/c");
    expect(node(tree, "a")).toBe(file);
    expect(node(tree, "d/b")).toBe(file);
    expect(cInput.homes.get(file)).toEqual({ directory: node(tree, "d"), name: "c" });
  });

  test("link counts and object paths are as given", () => {
    const { tree, cInput } = parse(
      `/a 5 100644 7 0 0 0 1.0 any/where - ${DIGEST}`,
      `/b 5 100644 1 0 0 0 1.0 - - ${DIGEST}`,
      "/c 5 100644 1 0 0 0 1.0 /x - -",
    );
    const [a, b, c] = ["a", "b", "c"].map((name) => leaf(tree, name)) as [Leaf, Leaf, Leaf];
    expect(cInput.links.get(a)).toBe(7);
    expect([a, b, c].map((file) => cInput.redirects.get(file))).toEqual(["/any/where", "", "//x"]);
    expect([a, b, c].map(({ content }) => content.type === "external" && content.verity)).toEqual([
      true,
      true,
      false,
    ]);
  });

  test("numbers with a sign, times before 1970", () => {
    const { tree } = parse("/a +0 100644 1 -1 +5 0 -5.3 - - -");
    const { uid, gid, mtimeSec, mtimeNsec } = leaf(tree, "a").stat;
    expect({ uid, gid, mtimeSec, mtimeNsec }).toEqual({
      uid: 0xffffffff,
      gid: 5,
      mtimeSec: -5n,
      mtimeNsec: 3,
    });
  });

  test("any bytes, slashes more and less, a blank at the end, the last of two xattrs", () => {
    const { tree } = parse(
      "caf\xe9 1 100644 1 0 0 0 1.0 - \xff - user.a=2 user.a=1 ",
      "//x 0 10644 1 0 0 0 1.0",
    );
    const file = leaf(tree, "caf\xe9");
    expect(file.content).toEqual({ type: "inline", data: Uint8Array.of(0xff) });
    expect([...file.stat.xattrs].map(([key, value]) => [key, fromBytes(value)])).toEqual([
      ["user.a", "1"],
    ]);
    expect(leaf(tree, "x").content).toEqual({ type: "fifo" });
  });

  test("more inline content; the payload beside content, the content of a symlink do not count", () => {
    const { tree } = parse(
      `/a 5000 100644 1 0 0 0 1.0 ignored ${"x".repeat(5000)} -`,
      "/s 1 120777 1 0 0 0 1.0 target x -",
    );
    expect(leaf(tree, "a").content).toMatchObject({ type: "inline" });
    expect(leaf(tree, "s").content).toEqual({ type: "symlink", target: "target" });
  });
});

test.each([
  ["", "line 2: PATH: empty path", ["", "/a 0 100644 1 0 0 0 1.0 - - -"]],
  [
    "content of another size",
    "line 2: CONTENT: 4 bytes, but SIZE says 3",
    ["/a 3 100644 1 0 0 0 1.0 - abcd -"],
  ],
  ["no content field", "line 2: CONTENT: 0 bytes, but SIZE says 4", ["/a 4 100644 1 0 0 0 1.0 -"]],
  [
    "a cut line",
    'line 2: NLINK: expected a decimal number of at most 64 bits, got ""',
    ["/a 4 100644"],
  ],
  ["no type", 'line 2: MODE: unknown file type, got "644"', ["/a 0 644 1 0 0 0 1.0 - - -"]],
  ["NUL", "line 2: NUL at byte 2", ["/a\0 0 100644 1 0 0 0 1.0 - - -"]],
  [
    "two entries",
    "line 3: PATH: second entry for /a",
    ["/a 0 10644 1 0 0 0 1.0 - - -", "/a 0 10644 1 0 0 0 1.0 - - -"],
  ],
  ["two roots", "line 2: PATH: second entry for /", [ROOT.trim()]],
  [
    "no parent",
    "line 2: PATH: parent of /d/a: there is no such directory yet",
    ["/d/a 0 10644 1 0 0 0 1.0 - - -"],
  ],
  ["a slash at the end", 'line 2: PATH: empty name in "/a/"', ["/a/ 0 10644 1 0 0 0 1.0 - - -"]],
  ["dots", 'line 2: PATH: ".." in "/../a"', ["/../a 0 10644 1 0 0 0 1.0 - - -"]],
  ["a link to nothing", "line 2: PAYLOAD: no entry /x", ["/a 0 @100644 - - - - 0.0 /x - -"]],
  [
    "a link to itself",
    "line 2: PAYLOAD: hard link to itself at /b",
    ["/a 0 @100644 - - - - 0.0 /b - -", "/b 0 @100644 - - - - 0.0 /b - -"],
  ],
  [
    "a link to a directory",
    "line 2: PAYLOAD: hard link to the directory /",
    ["/a 0 @100644 - - - - 0.0 / - -"],
  ],
  [
    "a directory that is a link",
    "line 2: MODE: a directory cannot be a hard link",
    ["/a 0 @40755 - - - - 0.0 /b - -"],
  ],
  [
    "no target",
    "line 2: PAYLOAD: expected a symlink's target, got nothing",
    ["/a 0 120777 1 0 0 0 1.0 - - -"],
  ],
  [
    "a short digest",
    'line 2: DIGEST: expected sha256, 64 hex digits, got "53"',
    ["/a 5 100644 1 0 0 0 1.0 x - 53"],
  ],
  [
    "no value",
    'line 2: xattr 1: expected KEY=VALUE, got "user.a"',
    ["/a 0 10644 1 0 0 0 1.0 - - - user.a"],
  ],
  [
    "large inline content",
    "line 2: CONTENT: 5001 bytes, at most 5000",
    [`/a 5001 100644 1 0 0 0 1.0 - ${"x".repeat(5001)} -`],
  ],
  [
    "many xattrs",
    "line 2: xattrs of 66010 bytes, at most 65535",
    [`/a 0 10644 1 0 0 0 1.0 - - - user.a=${"x".repeat(66003)}`],
  ],
])("refused: %s", (_, expected, lines) => {
  expect(message(() => parse(...lines))).toBe(expected);
});

test("an empty file, and one without a root", () => {
  expect(message(() => parseDumpfileC(new Uint8Array(0)))).toBe("no entry for /");
  expect(message(() => parseDumpfileC(Buffer.from("/ 0 100644 1 0 0 0 1.0 - - -\n")))).toBe(
    "line 1: / is not a directory",
  );
});
