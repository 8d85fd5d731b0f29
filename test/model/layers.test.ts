import { describe, expect, test } from "vitest";
import type { TarEntry } from "../../src/formats/tar/entries.ts";
import { mergeLayers } from "../../src/model/layers.ts";
import { describeError } from "../../userspace/cli/errors.ts";
import { at, dir, file, link, merge, paths, symlink, xattrs } from "./entries.ts";

/** The whole message of what `merge` throws. */
function failure(...layers: TarEntry[][]): string {
  try {
    merge(...layers);
  } catch (error) {
    return describeError(error).message;
  }
  throw new Error("no error");
}

const base = () => [
  dir("usr"),
  dir("usr/bin"),
  file("usr/bin/sh", "shell"),
  file("usr/bin/ls", "ls"),
  dir("etc"),
  file("etc/hosts", "old"),
  file("etc/passwd"),
];

describe("whiteouts", () => {
  // Each case: what the second layer has, what is left of the first, below / .
  const etc = ["/etc", "/etc/hosts", "/etc/passwd"];
  const usr = ["/usr", "/usr/bin", "/usr/bin/ls", "/usr/bin/sh"];
  test.each<[string, TarEntry[], string[]]>([
    ["a file", [file("etc/.wh.hosts")], ["/etc", "/etc/passwd", ...usr]],
    ["a name that is not there", [file("etc/.wh.none")], [...etc, ...usr]],
    ["a file twice", [file("etc/.wh.hosts"), file("etc/.wh.hosts")], [etc[0]!, etc[2]!, ...usr]],
    ["a directory, with all in it", [file("usr/.wh.bin")], [...etc, "/usr"]],
    ["a directory of the root", [file(".wh.usr")], etc],
    ["with an absolute path", [file("/.wh.usr")], etc],
    ["with ./ before it", [file("./.wh.usr")], etc],
    ["of any type", [dir("etc/.wh.hosts"), symlink("etc/.wh.passwd", "x")], ["/etc", ...usr]],
    [
      "several",
      [file("etc/.wh.hosts"), file("usr/bin/.wh.ls")],
      ["/etc", etc[2]!, "/usr", "/usr/bin", usr[3]!],
    ],
    ["and then the name again", [file("etc/.wh.hosts"), file("etc/hosts")], [...etc, ...usr]],
    ["what the same layer has put there", [file("etc/new"), file("etc/.wh.new")], [...etc, ...usr]],
    ["an opaque directory", [file("etc/.wh..wh..opq")], ["/etc", ...usr]],
    ["an opaque directory of directories", [file("usr/.wh..wh..opq")], [...etc, "/usr"]],
    ["an opaque root", [file(".wh..wh..opq")], []],
    [
      "opaque, then new entries",
      [file("etc/.wh..wh..opq"), file("etc/new")],
      ["/etc", "/etc/new", ...usr],
    ],
    [
      "opaque, after the layer's own entries",
      [file("etc/new"), file("etc/.wh..wh..opq")],
      ["/etc", ...usr],
    ],
    ["an empty name", [file("etc/.wh.")], [...etc, ...usr]],
    ["a file named .wh.", [file("etc/.wh..wh.")], [...etc, ...usr]],
    ["the old, misspelled opaque marker", [file("etc/.wh..wh.opq")], [...etc, ...usr]],
    [
      "no whiteout: other dots",
      [file("etc/.what"), file("etc/wh.hosts")],
      ["/etc", "/etc/.what", ...etc.slice(1), "/etc/wh.hosts", ...usr],
    ],
  ])("%s", (_, layer, left) => {
    expect(paths(merge(base(), layer))).toEqual(["/", ...left]);
    expect(paths(merge([...base(), ...layer]))).toEqual(["/", ...left]);
  });

  test("leave the directory's own metadata alone", () => {
    const tree = merge([dir("etc", { mtimeSec: 5n }), file("etc/a")], [file("etc/.wh.a")]);
    expect(at(tree, "etc").stat.mtimeSec).toBe(5n);
    const opaque = merge([dir("etc", { mtimeSec: 5n })], [file("etc/.wh..wh..opq")]);
    expect(at(opaque, "etc").stat.mtimeSec).toBe(5n);
  });

  test("keep other names of a hard link", () => {
    const tree = merge(
      [dir("etc"), file("etc/a", "x"), link("etc/b", "etc/a")],
      [file("etc/.wh.a")],
    );
    expect(paths(tree)).toEqual(["/", "/etc", "/etc/b"]);
    expect(at(tree, "etc/b")).toMatchObject({ content: { type: "inline" } });
  });

  test("need their directory, and a hard link's target, like every entry", () => {
    expect(failure([file("none/.wh.x")])).toContain('"none" does not exist');
    expect(failure([link(".wh.x", "none")])).toContain("there is no such file");
  });
});

describe("merging", () => {
  test("a directory over a directory replaces all metadata and keeps the entries", () => {
    const tree = merge(
      [dir("d", { mode: 0o700, uid: 1, xattrs: xattrs({ "user.a": "1" }) }), file("d/f")],
      [dir("d", { mode: 0o750, gid: 2, mtimeSec: 3n, xattrs: xattrs({ "user.b": "2" }) })],
    );
    expect(paths(tree)).toEqual(["/", "/d", "/d/f"]);
    expect(at(tree, "d").stat).toEqual({
      mode: 0o750,
      uid: 0,
      gid: 2,
      mtimeSec: 3n,
      mtimeNsec: 0,
      xattrs: xattrs({ "user.b": "2" }),
    });
  });

  test("anything else replaces what was there", () => {
    expect(paths(merge([dir("d"), file("d/f")], [file("d")]))).toEqual(["/", "/d"]);
    expect(at(merge([dir("d"), file("d/f")], [symlink("d", "e")]), "d")).toMatchObject({
      content: { type: "symlink", target: "e" },
    });
    const tree = merge([file("d")], [dir("d"), file("d/f")]);
    expect(paths(tree)).toEqual(["/", "/d", "/d/f"]);
    expect(at(merge([file("f", "old")], [file("f", "new")]), "f")).toMatchObject({
      content: { data: new Uint8Array(Buffer.from("new")) },
    });
  });

  test("paths may be spelled in several ways", () => {
    const tree = merge([dir("./a/"), dir("/a//b///"), file("a/./b/./c"), file("//a/b/d")]);
    expect(paths(tree)).toEqual(["/", "/a", "/a/b", "/a/b/c", "/a/b/d"]);
  });

  test("names are bytes", () => {
    const tree = merge([file("bü")]);
    expect([...tree.entries.keys()]).toEqual(["b\xc3\xbc"]);
  });

  test("objects must have their digest", () => {
    const digest = new Uint8Array(32).fill(1);
    const entry = { ...file("f"), item: { type: "external", size: 100, digest } as const };
    expect(at(merge([entry]), "f")).toMatchObject({
      content: { type: "external", size: 100, digest, verity: true },
    });
  });

  test.each(["/", "./", ".", "//", "a/.."])("%s is the root", (path) => {
    const tree = merge([dir("a"), dir(path, { mode: 0o711 })]);
    expect(tree.stat.mode).toBe(0o711);
    expect(paths(tree)).toEqual(["/", "/a"]);
    expect(failure([file(path)])).toContain("expected a directory, it is the root");
  });
});

describe("hard links", () => {
  test("share the leaf, whatever they say themselves", () => {
    const tree = merge([dir("a"), file("a/f", "x", { mode: 0o600 }), link("a/g", "/a/f")]);
    expect(at(tree, "a/g")).toBe(at(tree, "a/f"));
    expect(at(tree, "a/g").stat.mode).toBe(0o600);
  });

  test("reach into lower layers, and to what is there now", () => {
    const tree = merge(
      [file("f", "one"), link("g", "f")],
      [link("h", "./f"), file("f", "two"), link("i", "f")],
    );
    expect(at(tree, "h")).toBe(at(tree, "g"));
    expect(at(tree, "i")).toBe(at(tree, "f"));
    expect(at(tree, "i")).not.toBe(at(tree, "h"));
  });

  test("may be of symbolic links", () => {
    const tree = merge([symlink("a", "x"), link("b", "a")]);
    expect(at(tree, "b")).toBe(at(tree, "a"));
  });

  test.each([
    ["none", "there is no such file"],
    ["dir", "is a directory"],
    ["", "expected the path of a file"],
    ["/", "expected the path of a file"],
    ["dir/..", "expected the path of a file"],
    ["gone", "there is no such file"],
  ])("to %j are refused", (target, why) => {
    const layer = [dir("dir"), file("gone"), file(".wh.gone"), link("l", target)];
    expect(failure(layer)).toBe(`layer a: "l": hard link to "${target}": ${why}`);
  });
});

describe("errors name the layer and the path", () => {
  test.each<[string, TarEntry, string]>([
    ["a missing parent", file("usr/lib/x"), '"usr/lib/x": "usr/lib" does not exist'],
    ["a file as parent", file("etc/hosts/x"), '"etc/hosts/x": "etc/hosts" is not a directory'],
    ["a link as parent", file("bin/x"), '"bin/x": "bin" is not a directory'],
    ["..", file("usr/../etc/x"), '"usr/../etc/x": "usr/.." goes through ".."'],
  ])("%s", (_, entry, message) => {
    expect(failure([...base(), symlink("bin", "usr/bin")], [entry])).toBe(`layer b: ${message}`);
  });

  test("also those of reading the layer", () => {
    function* broken(): Generator<TarEntry> {
      yield dir("a");
      throw new Error("tar offset 512: broken");
    }
    expect(() => mergeLayers([{ name: "1", entries: broken() }])).toThrow(
      expect.objectContaining({
        message: "layer 1",
        cause: expect.objectContaining({ message: "tar offset 512: broken" }),
      }),
    );
  });
});

test("100,000 entries are no matter", () => {
  const entries = [dir("d")];
  for (let i = 0; i < 300; i++) entries.push(dir(`d/${i}`));
  for (let i = 0; i < 100_000; i++) entries.push(file(`d/${i % 300}/f${i}`));
  expect(paths(merge(entries, entries))).toHaveLength(100_302);
});
