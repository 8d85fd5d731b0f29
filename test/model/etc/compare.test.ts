/** What counts as a change of `/etc`: the rows of the classification. */
import { describe, expect, test } from "vitest";
import { compareEtc } from "../../../src/model/etc/compare.ts";
import { seeThrough } from "../../../src/model/etc/see-through.ts";
import type { EtcEntry } from "../../../src/model/etc/tree.ts";
import { device, dir, fifo, file, found, mount, secret, socket, symlink } from "./trees.ts";

/** The changes in short: `kind path: aspects`. */
function changes(before: Record<string, EtcEntry>, after: Record<string, EtcEntry>): string[] {
  return compareEtc(dir(before), dir(after)).map(({ kind, path, type, was, aspects }) =>
    `${kind} ${path}: ${was === undefined ? "" : `${was} to `}${type} ${aspects.join(",")}`.trim(),
  );
}

const full = dir({ x: file("1"), sub: dir({ y: file("2") }) });

test.each<[string, Record<string, EtcEntry>, Record<string, EtcEntry>, string[]]>([
  ["nothing, file", {}, { f: file("") }, ["added f: file"]],
  ["nothing, symlink", {}, { l: symlink("t") }, ["added l: symlink"]],
  [
    "nothing, directory: with all below it",
    {},
    { d: full },
    ["added d: directory", "added d/sub: directory", "added d/sub/y: file", "added d/x: file"],
  ],
  ["file, the same", { f: file("1") }, { f: file("1") }, []],
  ["file, other uid", { f: file("1") }, { f: file("1", { uid: 1 }) }, ["modified f: file uid"]],
  ["file, other gid", { f: file("1") }, { f: file("1", { gid: 1 }) }, ["modified f: file gid"]],
  ["file, setuid", { f: file("1") }, { f: file("1", { mode: 0o4644 }) }, ["modified f: file mode"]],
  [
    "file, an xattr more",
    { f: file("1") },
    { f: file("1", { xattrs: { "user.a": "1" } }) },
    ["modified f: file xattrs"],
  ],
  [
    "file, an xattr less",
    { f: file("1", { xattrs: { "user.a": "1" } }) },
    { f: file("1") },
    ["modified f: file xattrs"],
  ],
  [
    "file, an ACL with another value of the same length",
    { f: file("1", { xattrs: { "system.posix_acl_access": "ab" } }) },
    { f: file("1", { xattrs: { "system.posix_acl_access": "ac" } }) },
    ["modified f: file xattrs"],
  ],
  [
    "file, other content, same size and time",
    { f: file("1") },
    { f: file("2") },
    ["modified f: file content"],
  ],
  ["file, only touched", { f: file("1") }, { f: file("1", { mtime: 9 }) }, []],
  [
    "file, all of it",
    { f: file("1") },
    { f: file("22", { uid: 1, mode: 0o600 }) },
    ["modified f: file content,uid,mode"],
  ],
  [
    "symlink, other target",
    { l: symlink("a") },
    { l: symlink("b") },
    ["modified l: symlink target"],
  ],
  [
    "symlink, other owner",
    { l: symlink("a") },
    { l: symlink("a", { uid: 7 }) },
    ["modified l: symlink uid"],
  ],
  [
    "file, symlink",
    { f: file("a") },
    { f: symlink("a", { mode: 0o644 }) },
    ["modified f: file to symlink type"],
  ],
  [
    "symlink, file",
    { f: symlink("a") },
    { f: file("a", { mode: 0o777 }) },
    ["modified f: symlink to file type"],
  ],
  ["file, fifo", { f: file("") }, { f: fifo() }, ["modified f: file to fifo type"]],
  [
    "device, another one",
    { f: device(1) },
    { f: device(2) },
    ["modified f: character device device"],
  ],
  [
    "file, directory: with what is in it",
    { d: file("", { mode: 0o755 }) },
    { d: full },
    [
      "modified d: file to directory type",
      "added d/sub: directory",
      "added d/sub/y: file",
      "added d/x: file",
    ],
  ],
  [
    "directory, file",
    { d: full },
    { d: file("", { mode: 0o755 }) },
    ["modified d: directory to file type"],
  ],
  [
    "directory, symlink",
    { d: full },
    { d: symlink("x", { mode: 0o755 }) },
    ["modified d: directory to symlink type"],
  ],
  [
    "directory, other mode and something below it",
    { d: full },
    { d: dir({ ...Object.fromEntries(full.entries), new: file("") }, { mode: 0o700 }) },
    ["modified d: directory mode", "added d/new: file"],
  ],
  // bootc's config-diff lists d, too
  [
    "directory the same, something below it",
    { d: full },
    { d: dir({ x: file("other"), sub: dir({ y: file("2") }) }) },
    ["modified d/x: file content"],
  ],
  ["file, nothing", { f: file("") }, {}, ["removed f: file"]],
  ["directory, nothing: one entry", { d: full }, {}, ["removed d: directory"]],
  [
    "a file that nobody may read",
    { f: secret(1) },
    { f: file("1") },
    ["unreadable f: file unreadable"],
  ],
  ["one that cannot be the same", { f: secret(2) }, { f: file("1") }, ["modified f: file content"]],
])("%s", (_, before, after, expected) => {
  expect(changes(before, after)).toEqual(expected);
});

test("the directory itself counts", () => {
  expect(compareEtc(dir({}), dir({}, { mode: 0o700, uid: 3 }))).toEqual([
    { path: "", kind: "modified", type: "directory", aspects: ["uid", "mode"] },
  ]);
});

test("a flag of chattr counts", () => {
  const one = file("1");
  const locked = { ...one, stat: { ...one.stat, immutable: true } as const };
  expect(changes({ f: one }, { f: locked })).toEqual(["modified f: file flags"]);
});

test("a directory stands before what is in it, whatever sorts between", () => {
  const after = { "a-b": file(""), a: dir({ c: file("") }), "a.b": file("") };
  expect(changes({}, after)).toEqual([
    "added a: directory",
    "added a/c: file",
    "added a-b: file",
    "added a.b: file",
  ]);
});

test("content is only read where size and attributes leave a doubt", () => {
  const other = secret(5, { uid: 1 });
  const never = { ...other.content, digest: () => expect.unreachable() };
  const leaf = { ...other, content: never };
  expect(changes({ a: file("1"), b: leaf }, { a: file("333"), b: leaf })).toHaveLength(1);
});

describe("left out before", () => {
  test("sockets, named, and systemd's .updated in the directory itself", () => {
    const etc = found({
      s: socket(),
      d: found({ s: socket(), ".updated": file("") }),
      ".updated": file(""),
    });
    const { tree, sockets } = seeThrough(etc);
    expect(sockets).toEqual(["d/s", "s"]);
    expect(compareEtc(dir({}), tree).map(({ path }) => path)).toEqual(["d", "d/.updated"]);
  });

  test("a mount hides an entry, which is taken to be unchanged", () => {
    const before = dir({ "resolv.conf": file("1"), d: dir({ e: dir({ x: file("") }) }) });
    const now = found({ "resolv.conf": mount, d: found({ e: mount }), new: mount });
    const { tree, mounts } = seeThrough(now, before);
    expect(mounts).toEqual(["d/e", "new", "resolv.conf"]);
    expect(compareEtc(before, tree)).toEqual([]);
  });
});
