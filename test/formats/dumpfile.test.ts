import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ascii, type ByteString } from "../../src/formats/bytestring.ts";
import type { HashName } from "../../src/formats/digest.ts";
import { dumpLines, formatDumpfile, parseDumpfile } from "../../src/formats/dumpfile.ts";
import type { Directory, Leaf, Node } from "../../src/formats/tree.ts";
import { arbitraryTree } from "./erofs/arbitrary-tree.ts";
import { dumpNames, readDump } from "./erofs/vectors.ts";

const ROOT = "/ 0 40755 2 0 0 0 0.0 - - -\n";
const A = "ab".repeat(32);
const A_PATH = `ab/${"ab".repeat(31)}`;

const latin1 = (text: string) => Uint8Array.from(Buffer.from(text, "latin1"));
const parse = (text: string, hash?: HashName) =>
  parseDumpfile(latin1(text), hash === undefined ? {} : { hash });

function entry(text: string, name: string): Node {
  const node = parse(ROOT + text).tree.entries.get(ascii(name));
  expect(node).toBeDefined();
  return node!;
}

const leaf = (text: string, name = "f") => entry(text, name) as Leaf;

/** The whole message, causes included. */
function failure(text: string, hash?: HashName): string {
  try {
    parse(text, hash);
  } catch (error) {
    const messages: string[] = [];
    for (let e = error as Error | undefined; e; e = e.cause as Error) messages.push(e.message);
    return messages.join(": ");
  }
  return "accepted";
}

describe("what is read", () => {
  test("all fields of an entry", () => {
    const { stat, content } = leaf(
      "/f 5 104755 7 1000 4294967295 0 18.999999999 - a\\nb\\x00\\\\ - user.a\\x3d=b=c\\x20 user.z=\n",
    );
    expect(content).toEqual({ type: "inline", data: latin1("a\nb\0\\") });
    expect(stat).toEqual({
      mode: 0o4755,
      uid: 1000,
      gid: 0xffffffff,
      mtimeSec: 18n,
      mtimeNsec: 999_999_999,
      xattrs: new Map([
        [ascii("user.a="), latin1("b=c ")],
        [ascii("user.z"), latin1("")],
      ]),
    });
  });

  test.each([
    [`/f 9 100644 1 0 0 0 0.0 ${A_PATH} - ${A}`, "external", { size: 9, verity: true }],
    [`/f 9 100644 1 0 0 0 0.0 elsewhere - ${A}`, "external", { size: 9, verity: true }],
    [`/f 9 100644 1 0 0 0 0.0 ../${A_PATH} - -`, "external", { size: 9, verity: false }],
    [`/f 9007199254740992 100644 1 0 0 0 0.0 ${A_PATH} - -`, "external", { size: 2 ** 53 }],
    ["/f 7 100644 1 0 0 0 0.0 - - -", "sparse", { size: 7 }],
    ["/f 0 100644 1 0 0 0 0.0 - - -", "inline", { data: latin1("") }],
    ["/f 9 100644 1 0 0 0 0.0 - \\x2d -", "inline", { data: latin1("-") }],
    ["/f 0 120777 1 0 0 0 0.0 ../x\\x20\\xff - -", "symlink", { target: "../x \xff" }],
    ["/f 0 20644 1 0 0 4294967295 0.0 - - -", "chardev", { rdev: 0xffffffff }],
    ["/f 0 20644 1 0 0 0 0.0 - - -", "chardev", { rdev: 0 }],
    ["/f 0 60644 1 0 0 259 0.0 - - -", "blockdev", { rdev: 259 }],
    ["/f 0 10644 1 0 0 0 0.0 ignored - -", "fifo", {}],
    ["/f 0 140644 1 0 0 0 0.0 - - -", "socket", {}],
  ])("%s", (line, type, expected) => {
    expect(leaf(`${line}\n`).content).toMatchObject({ type, ...expected });
  });

  test("white space between the lines, carriage returns, no last newline", () => {
    const text = `\n \t\n${ROOT.replace("\n", "\r\n")}\r\n/d 0 40700 2 0 0 0 0.0 - - -\r\n\n/d/f 0 10644 1 0 0 0 0.0 - - -`;
    const { tree } = parse(text);
    expect([...(tree.entries.get(ascii("d")) as Directory).entries.keys()]).toEqual(["f"]);
  });

  test("names are bytes, escaped or not", () => {
    const { tree } = parse(
      `${ROOT}/a\xc3\xa9\xff 0 10644 1 0 0 0 0.0 - - -\n/a\\xFF 0 10644 1 0 0 0 0.0 - - -\n`,
    );
    expect([...tree.entries.keys()]).toEqual(["a\xc3\xa9\xff", "a\xff"]);
  });

  test("hard links are entries of one leaf, and their other fields do not matter", () => {
    const target = "/f 1 100644 1 0 0 0 0.0 - x -\n";
    for (const link of [
      "/g 0 @120000 - - - - 0.0 /f - -",
      "/g 0 @100644 1 2 3 4 5 /f",
      "/g 9 @0 a b c d e /f f g h",
    ]) {
      const { tree } = parse(`${ROOT}${target}${link}\n`);
      expect(tree.entries.get(ascii("g"))).toBe(tree.entries.get(ascii("f")));
    }
  });

  test("of two values for an xattr, the greater", () => {
    for (const xattrs of ["user.a=1 user.a=2", "user.a=2 user.a=1"]) {
      expect(leaf(`/f 0 10644 1 0 0 0 0.0 - - - ${xattrs}\n`).stat.xattrs).toEqual(
        new Map([["user.a", latin1("2")]]),
      );
    }
  });

  test("a later line for the root changes its metadata only", () => {
    const { tree } = parse(`${ROOT}/f 0 10644 1 0 0 0 0.0 - - -\n/ 0 40700 2 5 0 0 0.0 - - -\n`);
    expect([tree.stat.mode, tree.stat.uid, tree.entries.size]).toEqual([0o700, 5, 1]);
  });

  test("the hash of the digests", () => {
    const line = `/f 9 100644 1 0 0 0 0.0 x - ${A}\n`;
    expect(parse(ROOT).hash).toBeUndefined();
    expect(parse(ROOT, "sha512").hash).toBe("sha512");
    expect(parse(ROOT + line).hash).toBe("sha256");
    expect(parse(ROOT + line.replace(A, A + A)).hash).toBe("sha512");
    expect(parse(`${ROOT}/f 9 100644 1 0 0 0 0.0 ${A_PATH}${A} - -\n`).hash).toBe("sha512");
  });
});

describe("what is refused names the line and the field", () => {
  const at2 = (line: string) => failure(`${ROOT}${line}\n`);
  const file = (name: string, rest = "- x -") => `${name} 1 100644 1 0 0 0 0.0 ${rest}`;

  test.each([
    // as C composefs must refuse them too
    [
      "a large inline file",
      file("/f", `- ${"x".repeat(513)} -`),
      "CONTENT: 513 bytes, at most 512",
    ],
    [
      "a hard link to a directory",
      "/f 0 @120000 - - - - 0.0 / - -",
      "PAYLOAD: hard link to the directory /",
    ],
    [
      "a hard link of type directory",
      "/f 0 @40755 - - - - 0.0 /x - -",
      "MODE: a directory cannot be",
    ],
    [".", file("/."), 'PATH: "." in "/."'],
    ["..", file("/a/.."), 'PATH: ".." in "/a/.."'],
    [
      "an empty hard link target",
      "/f 0 @120000 - - - - 0.0  - -",
      "PAYLOAD: expected a hard link's target",
    ],
    ["an empty symlink", "/f 0 120777 1 0 0 0 0.0  - -", "PAYLOAD: expected a symlink's target"],
    [
      "a symlink to nothing",
      "/f 0 120777 1 0 0 0 0.0 - - -",
      "PAYLOAD: expected a symlink's target",
    ],
    ["an empty name", file("//f"), "PATH: empty name"],
    ["a trailing slash", file("/f/"), "PATH: empty name"],
    ["an empty xattr key", file("/f", "- x - =value"), "xattr 1: empty key"],
    [
      "a long symlink",
      `/f 0 120777 1 0 0 0 0.0 ${"t".repeat(1025)} - -`,
      "PAYLOAD: target of 1025 bytes",
    ],
    ["a long xattr key", file("/f", `- x - ${"k".repeat(256)}=`), "xattr 1: key of 256 bytes"],
    [
      "a long xattr value",
      file("/f", `- x - a=b k=${"v".repeat(65536)}`),
      "xattr 2: value of 65536 bytes",
    ],
    ["no file type", "/f 0 644 1 0 0 0 0.0 - - -", "MODE: unknown file type"],
    [
      "a hard link to itself",
      "/f 0 @120000 - - - - 0.0 /f - -",
      "PAYLOAD: no entry /f before this one",
    ],
    [
      "a file too large",
      "/f 9500000000000000 100644 1 0 0 0 0.0 - - -",
      "SIZE: 9500000000000000 bytes",
    ],
    // the rest
    ["an xattr without value", file("/f", "- x - user.a"), "xattr 1: expected KEY=VALUE"],
    ["a space at the end", file("/f", "- x - "), "xattr 1: expected KEY=VALUE"],
    ["NUL in an xattr key", file("/f", "- x - a\\x00=b"), "xattr 1: NUL in the key"],
    [
      "too long xattr keys",
      file(
        "/f",
        `- x -${Array.from({ length: 300 }, (_, i) => ` ${String(i).padStart(255, "k")}=`).join("")}`,
      ),
      "xattr 258: keys of more than 65535 bytes",
    ],
    ["a relative path", file("f"), "PATH: expected an absolute path"],
    ["an empty path", " 0 40755", "PATH: expected an absolute path"],
    ["NUL in a path", file("/a\\x00"), "PATH: NUL in a path"],
    ["a long name", file(`/${"n".repeat(256)}`), "PATH: name of 256 bytes, at most 255"],
    ["a long path", file(`/${"n/".repeat(2048)}`), "PATH: 4097 bytes, at most 4096"],
    ["a bad escape", file("/a\\q"), 'PATH: bad escape "\\x5cq"'],
    ["a bad hex escape", file("/f", "- \\x4g -"), "CONTENT: bad escape"],
    ["a backslash at the end", file("/f", "- x\\ -"), "CONTENT: bad escape"],
    ["no parent", file("/d/f"), "PATH: parent of /d/f: there is no such directory yet"],
    ["a line that ends early", "/f 1 100644 1 0 0 0 0.0 - x", "DIGEST: the line ends before it"],
    ["a short hard link", "/f 1 @120000 1 0 0 0 0.0", "PAYLOAD: the line ends before it"],
    ["two spaces", "/f  100644 1 0 0 0 0.0 - x -", "SIZE: expected a decimal number"],
    [
      "a size that is no number",
      "/f 0x10 100644 1 0 0 0 0.0 - x -",
      'SIZE: expected a decimal number of at most 64 bits, got "0x10"',
    ],
    [
      "a size over 64 bits",
      "/f 18446744073709551616 40644 1 0 0 0 0.0 - - -",
      "SIZE: expected a decimal",
    ],
    ["a hard link's size", "/f - @120000 - - - - 0.0 /f - -", "SIZE: expected a decimal number"],
    ["a decimal mode", "/f 1 100984 1 0 0 0 0.0 - x -", "MODE: expected an octal number"],
    ["links over 32 bits", "/f 1 100644 4294967296 0 0 0 0.0 - x -", "NLINK: expected a decimal"],
    [
      "a negative uid",
      "/f 1 100644 1 -1 0 0 0.0 - x -",
      'UID: expected a decimal number of at most 32 bits, got "-1"',
    ],
    ["a gid over 32 bits", "/f 1 100644 1 0 4294967296 0 0.0 - x -", "GID: expected a decimal"],
    [
      "a device number over 32 bits",
      "/f 1 20644 1 0 0 4294967296 0.0 - - -",
      "RDEV: expected a decimal",
    ],
    [
      "a device number on a file",
      "/f 1 100644 1 0 0 5 0.0 - x -",
      "RDEV: 5, but it is not a device",
    ],
    ["a device number on a directory", "/f 0 40644 1 0 0 5 0.0 - - -", "RDEV: 5"],
    ["a time without dot", "/f 1 100644 1 0 0 0 5 - x -", "MTIME: expected SECONDS.NANOSECONDS"],
    [
      "a second of nanoseconds",
      "/f 1 100644 1 0 0 0 5.1000000000 - x -",
      "MTIME: 1000000000 nanoseconds",
    ],
    [
      "content on a symlink",
      "/f 1 120644 1 0 0 0 0.0 x y -",
      'CONTENT: expected "-" for a symlink',
    ],
    [
      "content on a directory",
      "/f 1 40644 1 0 0 0 0.0 - y -",
      'CONTENT: expected "-" for a directory',
    ],
    [
      "a digest on a device",
      `/f 1 20644 1 0 0 1 0.0 - - ${A}`,
      'DIGEST: expected "-" for a chardev',
    ],
    ["a digest on an inline file", file("/f", `- x ${A}`), 'DIGEST: expected "-"'],
    [
      "a digest that is none",
      file("/f", "x - abcd"),
      "DIGEST: expected sha512, 128 hex digits, got 4",
    ],
    [
      "a digest that is not hex",
      file("/f", "x - hello"),
      'DIGEST: expected sha512, 128 hex digits, got "hello"',
    ],
    [
      "a payload that is no object",
      file("/f", "lib/libc.so - -"),
      "PAYLOAD: expected the path of an object",
    ],
    ["a whiteout with two names", "/f 0 20644 2 0 0 0 0.0 - - -", "NLINK: a whiteout cannot"],
  ])("%s", (_, line, message) => {
    expect(at2(line)).toContain(`line 2: ${message}`);
  });

  test("entries that contradict an earlier one", () => {
    const f = "/f 1 100644 1 0 0 0 0.0 - x -\n";
    expect(failure(`${ROOT}${f}\n${f}`)).toBe("line 4: PATH: second entry for /f");
    expect(failure(`${ROOT}${f}/f/g 0 10644 1 0 0 0 0.0 - - -\n`)).toBe(
      "line 3: PATH: parent of /f/g: not a directory",
    );
    const gone = "/gone 0 20644 1 0 0 0 0.0 - - -\n";
    expect(failure(`${ROOT}${gone}/g 0 @120000 - - - - 0.0 /gone - -\n`)).toBe(
      "line 3: PAYLOAD: hard link to the whiteout /gone",
    );
  });

  test("the root first", () => {
    expect(failure("")).toBe("no entry for /");
    expect(failure("/f 1 100644 1 0 0 0 0.0 - x -\n")).toBe("line 1: the first entry is not /");
    expect(failure("/ 1 100644 1 0 0 0 0.0 - x -\n")).toBe("line 1: / is not a directory");
  });

  test("digests of another hash", () => {
    const text = `${ROOT}/f 9 100644 1 0 0 0 0.0 x - ${A}\n`;
    expect(failure(text, "sha512")).toBe("line 2: DIGEST: expected sha512, 128 hex digits, got 64");
    expect(failure(`${text}/g 9 100644 1 0 0 0 0.0 x - ${A}${A}\n`)).toBe(
      "line 3: DIGEST: expected sha256, 64 hex digits, got 128",
    );
    expect(failure(text.replace(A, "-").replace("x", A_PATH), "sha512")).toContain(
      "line 2: PAYLOAD",
    );
  });

  test("whatever the bytes are", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (noise) => {
        try {
          parseDumpfile(Buffer.concat([latin1(ROOT), noise]));
        } catch (error) {
          expect((error as Error).message).toMatch(/^line \d+$/);
        }
      }),
    );
  });
});

describe("what is written", () => {
  test.each(dumpNames.filter((name) => !name.startsWith("fuzz")))("%s again", (name) => {
    const text = Buffer.from(readDump(name)).toString("latin1");
    // sizes of directories, and the order of xattrs, are free
    const sorted = (line: string) => {
      const fields = line.replace("/ 4096", "/ 0").split(" ");
      return [...fields.slice(0, 11), ...fields.slice(11).sort()].join(" ");
    };
    expect(formatDumpfile(parse(text).tree)).toBe(text.split("\n").map(sorted).join("\n"));
  });

  test("escapes as composefs-rs does", () => {
    const { tree } = parse(
      `${ROOT}/a\\x3d\\\\\\x20\\n\\r\\t\\x7f\\xc3\\xa9 1 100644 1 0 0 0 0.0 - \\x2d - user.\\x3d=a\\x3db user.dash=- user.none=\n`,
    );
    expect([...dumpLines(tree)][1]).toBe(
      "/a=\\\\\\x20\\n\\r\\t\\x7f\\xc3\\xa9 1 100644 1 0 0 0 0.0 - \\x2d - user.\\x3d=a\\x3db user.dash=- user.none=\n",
    );
  });

  test("hard links refer to the first name in byte order", () => {
    const { tree } = parse(
      `${ROOT}/z 1 100644 1 0 0 0 0.0 - x -\n/d 0 40755 2 0 0 0 0.0 - - -\n/d/a 0 @120000 - - - - 0.0 /z - -\n`,
    );
    expect(formatDumpfile(tree)).toBe(
      `/ 0 40755 3 0 0 0 0.0 - - -\n/d 0 40755 2 0 0 0 0.0 - - -\n/d/a 1 100644 2 0 0 0 0.0 - x -\n/z 0 @120000 - - - - 0.0 /d/a - -\n`,
    );
  });

  test("is read as the same tree", () => {
    // what dump files cannot say: content larger than the limits, files of no size that are not inline, objects without digest
    const expressible = (node: Node): boolean => {
      if (node.type === "directory") return [...node.entries.values()].every(expressible);
      const { content } = node;
      if (content.type === "inline") return content.data.length <= 512;
      if (content.type === "symlink") return content.target.length <= 1024;
      if (content.type === "sparse") return content.size > 0;
      return content.type !== "external" || content.verity;
    };
    const prune = (directory: Directory): Directory => {
      for (const [name, node] of directory.entries) {
        if (node.type === "directory") prune(node);
        else if (!expressible(node)) directory.entries.delete(name as ByteString);
      }
      return directory;
    };
    fc.assert(
      fc.property(arbitraryTree(1), (tree) => {
        const text = formatDumpfile(prune(tree));
        const back = parse(text).tree;
        expect(back).toEqual(tree);
        expect(formatDumpfile(back)).toBe(text);
      }),
    );
  });
});
