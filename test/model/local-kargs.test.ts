import fc from "fast-check";
import { expect, test } from "vitest";
import { splitCmdline } from "../../src/formats/cmdline.ts";
import {
  editKargs,
  type KargEdit,
  kargSources,
  withLocalKargs,
} from "../../src/model/local-kargs.ts";

const NONE = { added: [], deleted: [] };
const edits = (edit: KargEdit["edit"], ...kargs: string[]) => kargs.map((karg) => ({ edit, karg }));
const LINE = "root=UUID=1 console=tty0 console=ttyS0 quiet composefs=ab";

test.each<[KargEdit["edit"], string, string, { added: string[]; deleted: string[] }]>([
  ["add", "nosmt", `${LINE} nosmt`, { added: ["nosmt"], deleted: [] }],
  ["add", "quiet", LINE, NONE],
  ["delete", "quiet", LINE.replace(" quiet", ""), { added: [], deleted: ["quiet"] }],
  [
    "delete",
    "console=tty0",
    LINE.replace(" console=tty0", ""),
    { added: [], deleted: ["console=tty0"] },
  ],
  ["delete", "console", "root=UUID=1 quiet composefs=ab", { added: [], deleted: ["console"] }],
  [
    "replace",
    "root=UUID=2",
    LINE.replace("UUID=1", "UUID=2"),
    { added: ["root=UUID=2"], deleted: ["root"] },
  ],
])("%s %s", (edit, karg, options, local) => {
  expect(editKargs(LINE, NONE, edits(edit, karg))).toEqual({ options, local });
});

test("what was added and is deleted again leaves no trace, nor the other way round", () => {
  const added = editKargs(LINE, NONE, edits("add", "nosmt"));
  expect(editKargs(added.options, added.local, edits("delete", "nosmt"))).toEqual({
    options: LINE,
    local: NONE,
  });
  const deleted = editKargs(LINE, NONE, edits("delete", "quiet"));
  expect(editKargs(deleted.options, deleted.local, edits("add", "quiet")).local).toEqual(NONE);
});

test.each(["composefs=cd", "composefs", "composefs.digest=v1-sha256-12:cd"])(
  "which image is booted is nothing to edit: %s",
  (karg) => {
    for (const edit of ["add", "delete", "replace"] as const) {
      expect(() => editKargs(LINE, NONE, edits(edit, karg))).toThrow("decides which image");
    }
  },
);

test("what a new image brings is deleted or replaced as the old image's was", () => {
  const upgraded = (before: string, after: string, ...list: KargEdit[]) =>
    withLocalKargs(after, editKargs(before, NONE, list).local);
  expect(upgraded("a v=1", "a v=2 b", { edit: "delete", karg: "v" })).toBe("a b");
  expect(upgraded("a v=1", "a v=2 b", { edit: "replace", karg: "v=9" })).toBe("a b v=9");
  expect(upgraded("a v=1", "a v=2 b", { edit: "delete", karg: "v=1" })).toBe("a v=2 b");
  expect(upgraded("a", "v=2", { edit: "add", karg: "v=9" })).toBe("v=2 v=9");
  const [all, one] = [edits("delete", "console"), edits("add", "console=tty1")];
  expect(upgraded("console=tty0", "console=hvc0", ...all, ...one)).toBe("console=tty1");
  // the machine's own leave no trace
  const own = edits("add", "w=1", "w=2");
  expect(upgraded("a", "a w=3", ...own, ...edits("delete", "w"))).toBe("a w=3");
});

test("what is not there cannot be deleted", () => {
  expect(() => editKargs(LINE, NONE, edits("delete", "console=tty9"))).toThrow("is not there");
});

test("a new image's command line with what is noted has all edits (any edits)", () => {
  const karg = fc.constantFrom("a", "b=1", "b=2", "c", 'd="x y"');
  const edit = fc.record({ edit: fc.constantFrom("add" as const, "replace" as const), karg });
  fc.assert(
    fc.property(fc.array(edit, { maxLength: 6 }), (list) => {
      const { options, local } = editKargs(LINE, NONE, list);
      expect(splitCmdline(withLocalKargs(LINE, local)).sort()).toEqual(
        splitCmdline(options).sort(),
      );
    }),
  );
});

test("arguments are told apart by where they come from", () => {
  const { options, local } = editKargs(LINE, NONE, edits("replace", "root=UUID=2"));
  expect(kargSources(options, ["quiet"], local)).toEqual({
    image: ["quiet"],
    local: ["root=UUID=2"],
    other: ["console=tty0", "console=ttyS0", "composefs=ab"],
    deleted: ["root"],
  });
});

test("what was noted, and never came to the boot entry, can be taken back", () => {
  const noted = (list: readonly KargEdit[]) => editKargs(LINE, NONE, list).local;
  for (const name of ["v=1", "v"]) {
    expect(editKargs(LINE, noted(edits("add", "v=1")), edits("delete", name))).toEqual({
      options: LINE,
      local: NONE,
    });
  }
  for (const edit of ["add", "replace"] as const) {
    expect(editKargs(LINE, noted(edits("delete", "quiet")), edits(edit, "quiet"))).toEqual({
      options: LINE,
      local: NONE,
    });
  }
});
