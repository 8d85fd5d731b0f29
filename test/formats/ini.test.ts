import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { formatIni, iniValue, parseIni, setIniValue } from "../../src/formats/ini.ts";

/** What tini 1.3.0 makes of files: read and written again. */
test.each([
  ["", ""],
  [
    "[a]\nb=c ; d\n[[x]]\ny = 1#2\nb=d\n[a]\nz=1\nb=2\n[e]\n;c",
    "[a]\nb = 2\nz = 1\n\n[x]\ny = 1\nb = d\n",
  ],
  ["k=v\n[a]\nb=", "[]\nk = v\n\n[a]\nb = \n"],
  ["[]\nx=1", "[]\nx = 1\n"],
  ["[ a ]\nb = c = d\r\n\tq\u{a0}=\u{a0}r", "[ a ]\nb = c = d\nq = r\n"],
  ["[a]b]\nc=d", "[a]b]\nc = d\n"],
])("%j becomes %j", (text, again) => {
  const file = parseIni(text);
  expect(file.problems).toEqual([]);
  expect(formatIni(file)).toBe(again);
  expect(formatIni(parseIni(again))).toBe(again);
});

test("what tini refuses is told, the rest is read", () => {
  const file = parseIni("[a]\nnokey\n[b\n=x\nc = d\n");
  expect(formatIni(file)).toBe("[a]\nc = d\n");
  expect(file.problems).toEqual([
    "line 2: expected KEY = VALUE",
    "line 3: expected ] at its end",
    "line 4: expected a key before =",
  ]);
  expect(parseIni("x\n".repeat(1000)).problems).toHaveLength(11);
});

describe("changing", () => {
  const file = parseIni("[a]\nb = 1\nc = 2\n[d]\ne = 3\n");

  test("an item stays in its place, a new one goes to the end", () => {
    expect(formatIni(setIniValue(file, "a", "b", "9"))).toBe("[a]\nb = 9\nc = 2\n\n[d]\ne = 3\n");
    expect(formatIni(setIniValue(file, "a", "x", "9"))).toBe(
      "[a]\nb = 1\nc = 2\nx = 9\n\n[d]\ne = 3\n",
    );
    expect(formatIni(setIniValue(file, "x", "y", ""))).toBe(
      "[a]\nb = 1\nc = 2\n\n[d]\ne = 3\n\n[x]\ny = \n",
    );
  });

  test("an item is taken away, its section with the last one", () => {
    expect(formatIni(setIniValue(file, "a", "b", undefined))).toBe("[a]\nc = 2\n\n[d]\ne = 3\n");
    expect(formatIni(setIniValue(file, "d", "e", undefined))).toBe("[a]\nb = 1\nc = 2\n");
    expect(setIniValue(file, "x", "y", undefined)).toEqual(file);
  });

  test.each([
    ["a", "b", "x;y"],
    ["a", "b", "x#y"],
    ["a", "b", "x\ny"],
    ["a", "b", " x"],
    ["a", "=", "x"],
    ["a", "", "x"],
    ["a", "[b", "x"],
    ["a]", "b", "x"],
    ["a[", "b", "x"],
    ["a", "b ", "x"],
  ])("[%s] %s = %j is refused", (section, key, value) => {
    expect(() => setIniValue(file, section, key, value)).toThrow("does not fit into an INI file");
  });

  test("whatever is accepted is read again", () => {
    const text = fc.string({ unit: fc.constantFrom(...'ab=[]; #\\"%ü'), maxLength: 5 });
    fc.assert(
      fc.property(fc.array(fc.tuple(text, text, text)), (items) => {
        let built = parseIni("");
        for (const [section, key, value] of items) {
          try {
            built = setIniValue(built, section, key, value);
          } catch {
            continue;
          }
          expect(iniValue(built, section, key)).toBe(value);
        }
        expect(parseIni(formatIni(built))).toEqual(built);
      }),
    );
  });
});
