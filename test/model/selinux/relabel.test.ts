/** Which label what gets: every rule that decides an image's digest. */
import { describe, expect, test } from "vitest";
import { ascii, fromText } from "../../../src/formats/bytestring.ts";
import type { TarEntry } from "../../../src/formats/tar/entries.ts";
import { relabel } from "../../../src/model/selinux/relabel.ts";
import { countLinks, type LeafContent } from "../../../src/model/tree.ts";
import { at, dir, file, link, symlink, xattrs } from "../entries.ts";
import { label, labelled, labels, leafAt, read, withPolicy } from "./policy.ts";

const stale = () => ({ xattrs: xattrs({ "security.selinux": "stale", "user.a": "1" }) });
const special = (path: string, item: TarEntry["item"]): TarEntry => ({ ...file(path), item });

describe("which line counts", () => {
  test("the last one that matches", () => {
    const tree = labelled("/.* any\n/usr(/.*)? usr\n/usr/bin/.* bin\n/usr/bin/sh shell\n", [
      dir("usr"),
      dir("usr/bin"),
      file("usr/bin/sh"),
      file("usr/bin/ls"),
      dir("var"),
    ]);
    expect(labels(tree, "/", "/usr", "/usr/bin", "/usr/bin/sh", "/usr/bin/ls", "/var")).toEqual({
      "/": "any",
      "/usr": "usr",
      "/usr/bin": "usr",
      "/usr/bin/sh": "shell",
      "/usr/bin/ls": "bin",
      "/var": "any",
    });
  });

  test("the last one, even if one before is a literal path or has a longer fixed part", () => {
    const tree = labelled("/usr/bin/sh shell\n/usr/bin/.* bin\n/.* any\n", [
      dir("usr"),
      dir("usr/bin"),
      file("usr/bin/sh"),
    ]);
    expect(label(tree, "/usr/bin/sh")).toBe("any");
  });

  test("file_contexts, then .local, then .homedirs", () => {
    const tree = labelled(
      {
        ".homedirs": "/home/.* home\n",
        ".local": "/(home|srv)/.* local\n/home local\n",
        "": "/.* any\n",
      },
      [dir("home"), dir("home/x"), dir("srv"), dir("srv/x"), dir("tmp")],
    );
    expect(labels(tree, "/home", "/home/x", "/srv/x", "/tmp")).toEqual({
      "/home": "local",
      "/home/x": "home",
      "/srv/x": "local",
      "/tmp": "any",
    });
  });

  test("the whole path must match, and paths are bytes", () => {
    const tree = labelled("/a one\n/é two\n/.c three\n", [
      file("ab"),
      file("é"),
      { ...file("x"), path: ascii("\xe9c") },
      { ...file("y"), path: ascii("\nc") },
    ]);
    const get = (name: string) =>
      tree.entries.get(ascii(name))?.stat.xattrs.get(ascii("security.selinux"));
    expect(label(tree, "/ab")).toBeUndefined();
    expect(get(fromText("é"))).toEqual(new Uint8Array(Buffer.from("two")));
    expect(get("\xe9c")).toEqual(new Uint8Array(Buffer.from("three")));
    expect(get("\nc")).toEqual(new Uint8Array(Buffer.from("three")));
  });

  test("contexts are stored without a NUL", () => {
    const tree = labelled("/ system_u:object_r:root_t:s0\n", []);
    expect(tree.stat.xattrs.get(ascii("security.selinux"))).toEqual(
      new Uint8Array(Buffer.from("system_u:object_r:root_t:s0")),
    );
  });
});

test("each type of file has its lines (composefs-rs#164)", () => {
  const lines = ["-- regular", "-d directory", "-l link", "-p fifo", "-s socket", "-b block"];
  const tree = labelled([...lines, "-c char"].map((line) => `/x/.* ${line}\n`).join(""), [
    dir("x"),
    file("x/file"),
    special("x/large", { type: "external", size: 100, digest: new Uint8Array(64) }),
    dir("x/dir"),
    symlink("x/link", "file"),
    special("x/fifo", { type: "fifo" }),
    special("x/block", { type: "blockdev", rdev: 0 }),
    special("x/char", { type: "chardev", rdev: 0 }),
  ]);
  // These do not come from layers.
  const x = at(tree, "/x");
  if (x.type !== "directory") throw new Error("expected a directory");
  for (const content of [{ type: "socket" }, { type: "sparse", size: 9 }] satisfies LeafContent[]) {
    const { stat } = file(content.type, "", stale());
    x.entries.set(ascii(content.type), { type: "leaf", stat, content });
  }
  relabel(tree, read);
  const kinds = ["file", "large", "dir", "link", "fifo", "block", "char", "socket", "sparse"];
  expect(labels(tree, ...kinds.map((kind) => `/x/${kind}`))).toEqual({
    "/x/file": "regular",
    "/x/large": "regular",
    "/x/dir": "directory",
    "/x/link": "link",
    "/x/fifo": "fifo",
    "/x/block": "block",
    "/x/char": "char",
    "/x/socket": "socket",
    "/x/sparse": "regular",
  });
});

describe("what loses its label", () => {
  test("everything, without a policy", () => {
    const tree = withPolicy("/.* any\n", [dir("d", stale()), file("d/f", "", stale())]);
    tree.entries.delete(ascii("etc"));
    relabel(tree, read);
    expect([...at(tree, "/d").stat.xattrs.keys()]).toEqual(["user.a"]);
    expect([...at(tree, "/d/f").stat.xattrs.keys()]).toEqual(["user.a"]);
  });

  test("what no line matches, and what <<none>> is for; others get the policy's", () => {
    const tree = labelled("/a/.* a\n/a/none(/.*)? <<none>>\n/a/none/but but\n", [
      dir("a", stale()),
      file("a/f", "", stale()),
      dir("a/none", stale()),
      file("a/none/f", "", stale()),
      file("a/none/but", "", stale()),
    ]);
    expect(labels(tree, "/", "/a", "/a/f", "/a/none", "/a/none/f", "/a/none/but")).toEqual({
      "/": undefined,
      "/a": undefined,
      "/a/f": "a",
      "/a/none": undefined,
      "/a/none/f": undefined,
      "/a/none/but": "but",
    });
    expect([...at(tree, "/a/none/f").stat.xattrs.keys()]).toEqual(["user.a"]);
  });
});

describe("aliases", () => {
  const entries = [
    dir("srv"),
    dir("srv/home"),
    dir("srv/home/x"),
    file("srv/home/x/f"),
    dir("home"),
  ];
  const contexts = "/.* any\n/home home\n/home/[^/]+ user\n/home/[^/]+/.* file\n";

  test("stand for another path, and so do the paths below them", () => {
    const tree = labelled({ "": contexts, ".subs": "/srv/home /home\n" }, entries);
    expect(labels(tree, "/srv", "/srv/home", "/srv/home/x", "/srv/home/x/f", "/home")).toEqual({
      "/srv": "any",
      "/srv/home": "home",
      "/srv/home/x": "user",
      "/srv/home/x/f": "file",
      "/home": "home",
    });
  });

  test(".subs_dist overrides .subs, and later lines earlier ones", () => {
    const subs = { ".subs": "/srv/home /usr\n/srv /opt\n/srv /nowhere\n" };
    const tree = labelled(
      { "": `${contexts}/nowhere srv\n`, ...subs, ".subs_dist": "/srv/home /home\n" },
      entries,
    );
    // /srv is /nowhere, so /srv/home is /nowhere/home: no alias.
    expect(labels(tree, "/srv", "/srv/home")).toEqual({ "/srv": "srv", "/srv/home": "any" });
  });

  test("lead on to others below them, but not at once", () => {
    const tree = labelled(
      { "": "/1 one\n/2 two\n/2/x x\n/3 three\n", ".subs": "/a /1\n/1 /2\n/1/b /3\n/1/c /2/x\n" },
      [dir("a"), dir("a/b"), file("a/c"), dir("1")],
    );
    expect(labels(tree, "/a", "/a/b", "/a/c", "/1")).toEqual({
      "/a": "one",
      "/a/b": "three",
      "/a/c": "x",
      "/1": "two",
    });
  });

  test("are for whole names, for files too, and the root has none", () => {
    const tree = labelled({ "": "/ root\n/b b\n/.*c c\n", ".subs": "/a /b\n/ /b\n/f /b\n" }, [
      file("a"),
      file("f"),
      file("ac"),
    ]);
    expect(labels(tree, "/", "/a", "/f", "/ac")).toEqual({
      "/": "root",
      "/a": "b",
      "/f": "b",
      "/ac": "c",
    });
  });
});

describe("hard links", () => {
  test("stay one inode if all names get the same label", () => {
    const tree = labelled("/.* any\n", [file("a"), link("b", "a"), link("c", "a")]);
    expect(leafAt(tree, "/b")).toBe(leafAt(tree, "/a"));
    expect(countLinks(tree).get(leafAt(tree, "/a"))).toBe(3);
  });

  test("the first name in order labels the inode; others that differ get one each (composefs-rs#296)", () => {
    const tree = labelled("/.* any\n/[be].* other\n/n <<none>>\n", [
      file("c", "content", { ...stale(), uid: 7 }),
      link("b1", "c"),
      dir("d"),
      link("d/x", "c"),
      link("e", "c"),
      link("n", "c"),
      link("b0", "c"),
    ]);
    expect(labels(tree, "/b0", "/b1", "/c", "/d/x", "/e", "/n")).toEqual({
      "/b0": "other",
      "/b1": "other",
      "/c": "any",
      "/d/x": "any",
      "/e": "other",
      "/n": undefined,
    });
    const inode = leafAt(tree, "/b0");
    expect(leafAt(tree, "/b1")).toBe(inode);
    expect(leafAt(tree, "/e")).toBe(inode);
    // Also /c and /d/x, which get the same, are not one inode any more.
    expect(new Set(["/b0", "/c", "/d/x", "/n"].map((path) => leafAt(tree, path))).size).toBe(4);
    expect(leafAt(tree, "/c")).toMatchObject({ stat: { uid: 7 }, content: inode.content });
    expect([...leafAt(tree, "/n").stat.xattrs.keys()]).toEqual(["user.a"]);
  });

  test("two lines with the same context give the same label", () => {
    const tree = labelled("/a same\n/b same\n", [file("a"), link("b", "a")]);
    expect(leafAt(tree, "/b")).toBe(leafAt(tree, "/a"));
  });

  test("an alias can part names", () => {
    const tree = labelled({ "": "/.* any\n/x.* x\n", ".subs": "/lib /x\n" }, [
      dir("usr"),
      file("usr/f"),
      dir("lib"),
      link("lib/f", "usr/f"),
    ]);
    expect(labels(tree, "/usr/f", "/lib/f")).toEqual({ "/usr/f": "any", "/lib/f": "x" });
  });
});

describe("patterns that no finite automaton matches", () => {
  test("take part in the order like all others", () => {
    const tree = labelled(
      [
        "/etc(/.*)? etc",
        "/etc/(?!shadow).* public",
        "/etc/hostname hostname",
        "/usr/.* usr",
        "/usr/bin/(?=good).* good",
        "/usr/bin/[a-h].* ok",
        "/usr/bin/(?=gooder).* gooder",
      ].join("\n"),
      ["etc", "usr", "usr/bin"]
        .map((path) => dir(path))
        .concat(
          ["etc/passwd", "etc/shadow", "etc/hostname"].map((path) => file(path)),
          ["good", "gooder", "hello", "zsh"].map((name) => file(`usr/bin/${name}`)),
        ),
    );
    expect(
      labels(
        tree,
        ...["/etc", "/etc/passwd", "/etc/shadow", "/etc/hostname"],
        ...["good", "gooder", "hello", "zsh"].map((name) => `/usr/bin/${name}`),
      ),
    ).toEqual({
      "/etc": "etc",
      "/etc/passwd": "public",
      "/etc/shadow": "etc",
      "/etc/hostname": "hostname",
      "/usr/bin/good": "ok",
      "/usr/bin/gooder": "gooder",
      "/usr/bin/hello": "ok",
      "/usr/bin/zsh": "usr",
    });
  });

  test("that are too slow are an error, not another label", () => {
    const name = "a".repeat(60);
    expect(() => labelled("/.* any\n/((a|a)*)*c x\n", [file(name)])).not.toThrow();
    let error: unknown;
    try {
      labelled("/.* any\n/(?!b)((a|a)*)*c x\n", [file(name)]);
    } catch (caught) {
      error = caught;
    }
    expect(error).toMatchObject({
      message: `SELinux label of "/${name}"`,
      cause: {
        message: '/etc/selinux/targeted/contexts/files/file_contexts:2: pattern "/(?!b)((a|a)*)*c"',
        cause: { message: "takes too long to match, there are too many ways to try" },
      },
    });
  });
});

describe("a policy that is not as it should be", () => {
  const files = "/etc/selinux/targeted/contexts/files";

  test("without file_contexts", () => {
    expect(() => labelled({ ".local": "" }, [])).toThrow(`${files}/file_contexts does not exist`);
  });

  test("without its directory", () => {
    const tree = withPolicy("");
    const selinux = at(tree, "/etc/selinux");
    if (selinux.type === "directory") selinux.entries.delete(ascii("targeted"));
    expect(() => relabel(tree, read)).toThrow(
      `${files} of the policy "targeted" that /etc/selinux/config names does not exist`,
    );
  });

  test("with something else than a file", () => {
    const path = files.slice(1);
    expect(() => labelled("", [symlink(`${path}/file_contexts`, "x")])).toThrow(
      `${files}/file_contexts: expected a regular file`,
    );
    expect(() => labelled("", [dir(`${path}/file_contexts.subs`)])).toThrow(
      `${files}/file_contexts.subs: expected a regular file`,
    );
  });

  test("with a name that leads elsewhere", () => {
    const config = file("etc/selinux/config", "SELINUXTYPE=../../x\n");
    expect(() => labelled("", [config])).toThrow('".." does not name a directory');
  });

  test.each([
    ["", "/a\n", "file_contexts:1: expected a pattern"],
    [".homedirs", "/a t\n/b -x t\n", "file_contexts.homedirs:2: unknown file type"],
    [".subs_dist", "/a\n", "file_contexts.subs_dist:1: expected two paths"],
    [".local", "\n/(a t\n", 'file_contexts.local:2: pattern "/(a"'],
  ])("with a line in file_contexts%s that is wrong", (suffix, text, message) => {
    expect(() => labelled({ "": "", [suffix]: text }, [])).toThrow(`${files}/${message}`);
  });
});
