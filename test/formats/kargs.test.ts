import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { splitCmdline } from "../../src/formats/cmdline.ts";
import {
  addKarg,
  applyKargChanges,
  deleteKarg,
  deleteKargName,
  kargChanges,
  parseKargs,
  replaceKarg,
  sameKarg,
} from "../../src/formats/kargs.ts";

const LIST = splitCmdline(
  'rw root=/dev/vda2 console=tty0 console=ttyS0 dyndbg="file a.c +p" quiet',
);

test.each([
  ["quiet", "quiet", true],
  ["quiet", "quiet=", false],
  ["quiet", "Quiet", false],
  ["rd.auto-lvm=1", "rd.auto_lvm=1", true],
  ["a=x-y", "a=x_y", false],
  ['a="b c"', '"a=b c"', true],
  ['a="b"', "a=b", true],
])("%s and %s", (a, b, same) => {
  expect(sameKarg(a, b)).toBe(same);
});

describe("lists", () => {
  test("an argument is added once, beside others of its name", () => {
    expect(addKarg(LIST, "console=hvc0")).toEqual([...LIST, "console=hvc0"]);
    expect(addKarg(LIST, '"dyndbg=file a.c +p"')).toEqual(LIST);
  });

  test("an argument is deleted with its value, or whatever its value", () => {
    expect(deleteKarg(LIST, "console=tty0")).toEqual(
      LIST.filter((karg) => karg !== "console=tty0"),
    );
    expect(deleteKarg(LIST, "console")).toEqual(LIST);
    expect(deleteKargName(LIST, "console")).toEqual([
      ...["rw", "root=/dev/vda2", 'dyndbg="file a.c +p"', "quiet"],
    ]);
  });

  test("an argument is replaced in its place", () => {
    expect(replaceKarg(LIST, "console=hvc0")).toEqual([
      ...["rw", "root=/dev/vda2", "console=hvc0", 'dyndbg="file a.c +p"', "quiet"],
    ]);
    expect(replaceKarg(LIST, "nosmt")).toEqual([...LIST, "nosmt"]);
  });

  test("an image's new arguments on top of a person's", () => {
    const before = ["quiet", "console=tty0", "nosmt"];
    const after = ["quiet", "console=ttyS1", "splash"];
    const changes = kargChanges(before, after);
    expect(changes).toEqual({
      added: ["console=ttyS1", "splash"],
      deleted: ["console=tty0", "nosmt"],
    });
    expect(applyKargChanges(LIST, changes)).toEqual([
      ...["rw", "root=/dev/vda2", "console=ttyS0", 'dyndbg="file a.c +p"', "quiet"],
      ...["console=ttyS1", "splash"],
    ]);
  });

  test("changes lead from one list to the other", () => {
    const list = fc.uniqueArray(fc.constantFrom("a", "a=1", "a=2", "b", 'c="d e"'));
    fc.assert(
      fc.property(list, list, (before, after) => {
        const made = applyKargChanges(before, kargChanges(before, after));
        expect([...made].sort()).toEqual([...after].sort());
      }),
    );
  });
});

describe("what a person gives", () => {
  test("is one argument or several", () => {
    expect(parseKargs("console=ttyS0")).toEqual(["console=ttyS0"]);
    expect(parseKargs(' a="b c"\td ')).toEqual(['a="b c"', "d"]);
  });

  test.each([
    ["", "expected a name"],
    [" ", "expected a name"],
    ["=b", "expected a name before ="],
    ['a="b c', 'expected another "'],
    ["a\nlinux /b", "expected printable characters"],
    ["a\0", "expected printable characters"],
  ])("%j is refused", (text, why) => {
    expect(() => parseKargs(text)).toThrow(`kernel argument ${JSON.stringify(text)}: ${why}`);
  });
});
