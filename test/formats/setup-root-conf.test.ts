import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DEFAULT_CONF, parseSetupRootConf } from "../../src/formats/setup-root-conf.ts";

const parse = (text: string) => parseSetupRootConf(text, "conf.toml");

describe("parseSetupRootConf", () => {
  test("an empty file is the defaults", () => {
    expect(parse("")).toEqual({ conf: DEFAULT_CONF, warnings: [] });
  });

  test.each([
    ["none", "none"],
    ["root", "none"],
    ["bind", "bind"],
    ["overlay", "overlay"],
    ["transient", "transient"],
    ["volatile", "transient"],
  ])("mount = %s means %s", (word, meaning) => {
    expect(parse(`[etc]\nmount = "${word}"\n`).conf).toEqual({ ...DEFAULT_CONF, etc: meaning });
    expect(parse(`var.mount = '${word}'`).conf).toEqual({ ...DEFAULT_CONF, var: meaning });
  });

  test("transient is short for mount = transient, and mount wins", () => {
    expect(parse("[etc]\ntransient = true").conf.etc).toBe("transient");
    expect(parse("[etc]\ntransient = false").conf.etc).toBeUndefined();
    expect(parse('[etc]\ntransient = true\nmount = "bind"').conf.etc).toBe("bind");
  });

  test("the root and our own table", () => {
    expect(
      parse('root = { transient = true }\n[cfsboot]\nerofs = "loop"\nlayers = "paths"'),
    ).toEqual({
      conf: { ...DEFAULT_CONF, rootTransient: true, erofs: "loop", layers: "paths" },
      warnings: [],
    });
  });

  test("unknown keys are left out and named with their line", () => {
    expect(parse('[root]\nreadonly = true\n\n[usr]\nmount = "bind"\n').warnings).toEqual([
      "conf.toml, line 2: unknown: readonly in [root]",
      "conf.toml, line 4: unknown: [usr]",
    ]);
  });

  const words = '"none", "root", "bind", "overlay", "transient", "volatile"';
  test.each([
    ['# x\n[etc]\nmount = "rw"', `line 3: mount in [etc] is "rw", expected one of ${words}`],
    ["[var]\n\nmount = 3", `line 3: mount in [var] is 3, expected one of ${words}`],
    ["[var]\nmount = []", `line 2: mount in [var]: expected one of ${words}`],
    ['etc.mount = "x"', `line 1: mount in [etc] is "x", expected one of ${words}`],
    ['[root]\ntransient = "yes"', 'line 2: transient in [root] is "yes", expected true or false'],
    ["\netc = 1", "line 2: etc: expected a table"],
    [
      '[etc]\nmount = "__proto__"',
      `line 2: mount in [etc] is "__proto__", expected one of ${words}`,
    ],
    [
      '[cfsboot]\nerofs = "disk"',
      'line 2: erofs in [cfsboot] is "disk", expected one of "auto", "file", "loop"',
    ],
  ])("refuses %j", (text, message) => {
    expect(() => parse(text)).toThrow(new Error(`conf.toml, ${message}`));
  });

  test("a syntax error names line and column on one line of text", () => {
    expect(() => parse("[etc]\nmount bind\n")).toThrow(/^conf\.toml, line 2, column \d+: [^\n]+$/);
    expect(() => parse(`a = ${"[".repeat(5000)}`)).toThrow(/^conf\.toml, line 1, column \d+: /);
  });

  test("any text gives a result or an error that names the file", () => {
    const line = fc.constantFrom(
      "[etc]",
      "[var]",
      "mount",
      "=",
      '"bind"',
      "\n",
      "transient",
      "true",
      "[[",
      "{",
      "'",
      "1979-05-27",
      "0x",
      "__proto__",
      ".",
    );
    fc.assert(
      fc.property(fc.array(line, { maxLength: 20 }), (parts) => {
        try {
          parse(parts.join(" "));
        } catch (error) {
          expect((error as Error).message).toMatch(/^conf\.toml/);
        }
      }),
    );
  });
});
