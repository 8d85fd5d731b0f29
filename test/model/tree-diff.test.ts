import { expect, test } from "vitest";
import { ascii } from "../../src/formats/bytestring.ts";
import { mergeLayers } from "../../src/model/layers.ts";
import { diffPackages, packagesOf } from "../../src/model/package-diff.ts";
import { diffTrees } from "../../src/model/tree-diff.ts";
import { dir, file, link, symlink, xattrs } from "./entries.ts";

const tree = (...entries: ReturnType<typeof file>[]) => mergeLayers([{ name: "1", entries }]);

/** `~ /path file 1>2 content` */
const diff = (a: ReturnType<typeof tree>, b: ReturnType<typeof tree>) =>
  diffTrees(a, b).map(({ change, path, type, before, after, aspects }) =>
    [change, path, type, `${before ?? ""}>${after ?? ""}`, ...aspects].join(" "),
  );

test("added, removed and changed, with sizes and with what is another", () => {
  const before = tree(
    dir("a"),
    file("a/gone", "12"),
    file("a/x", "1"),
    symlink("l", "x"),
    dir("old"),
    file("old/f"),
  );
  const after = tree(
    dir("a", { mode: 0o700 }),
    file("a/new", "123"),
    file("a/x", "22"),
    symlink("l", "y"),
  );
  expect(diff(before, after)).toEqual([
    "changed /a directory > mode",
    "removed /a/gone file 2>",
    "added /a/new file >3",
    "changed /a/x file 1>2 content",
    "changed /l symlink > target",
    "removed /old directory >",
    "removed /old/f file 0>",
  ]);
  expect(diff(before, before)).toEqual([]);
});

test("another time is no change; another owner and other extended attributes are", () => {
  const before = tree(file("f", "x", { mtimeSec: 1n, xattrs: xattrs({ "user.a": "1" }) }));
  expect(
    diff(before, tree(file("f", "x", { mtimeSec: 2n, xattrs: xattrs({ "user.a": "1" }) }))),
  ).toEqual([]);
  expect(diff(before, tree(file("f", "x", { uid: 1, xattrs: xattrs({ "user.a": "2" }) })))).toEqual(
    ["changed /f file 1>1 owner xattrs"],
  );
});

test("a directory that became something else, and the other way round", () => {
  const before = tree(dir("d"), file("d/f", "1"), file("e", "1"));
  const after = tree(file("d", "22"), dir("e"), file("e/f", "1"));
  expect(diff(before, after)).toEqual([
    "changed /d file >2 type mode",
    "removed /d/f file 1>",
    "changed /e directory 1> type mode",
    "added /e/f file >1",
  ]);
});

test("hard links are compared by what they have", () => {
  const one = tree(file("a", "1"), link("b", "a"));
  const other = tree(file("a", "1"), file("b", "1"));
  expect(diff(one, other)).toEqual([]);
  expect(diffTrees(one, tree(file("a", "1")))[0]?.path).toBe(ascii("/b"));
});

test("packages: new ones, ones that are gone, other versions, several versions", () => {
  const of = (...list: [string, string][]) =>
    packagesOf(list.map(([name, version]) => ({ name, version })));
  const before = of(["bash", "1"], ["gone", "1"], ["kernel", "1"], ["kernel", "2"], ["same", "1"]);
  const after = of(["bash", "2"], ["kernel", "2"], ["kernel", "3"], ["new", "1"], ["same", "1"]);
  expect(diffPackages(before, after)).toEqual([
    { name: "bash", before: ["1"], after: ["2"] },
    { name: "gone", before: ["1"], after: [] },
    { name: "kernel", before: ["1", "2"], after: ["2", "3"] },
    { name: "new", before: [], after: ["1"] },
  ]);
});
