import { describe, expect, test } from "vitest";
import {
  isKargsFile,
  kargsArchitecture,
  kargsOfFiles,
  parseKargsToml,
} from "../../src/formats/kargs-toml.ts";

const parse = (text: string) => parseKargsToml(text, "file");

describe("a file", () => {
  test("with arguments, for all architectures or for some", () => {
    expect(parse('kargs = ["console=tty0", "nosmt"]\n')).toEqual({
      kargs: ["console=tty0", "nosmt"],
      architectures: undefined,
    });
    expect(parse('kargs = []\nmatch-architectures = ["x86_64", "aarch64"]')).toEqual({
      kargs: [],
      architectures: ["x86_64", "aarch64"],
    });
  });

  test("several arguments in one element, and quotes", () => {
    expect(parse(`kargs = ["rw quiet", 'a="b c"', "d=\\"e", 'f"', ""]`).kargs).toEqual([
      ...["rw", "quiet", 'a="b c"', 'd="e f"'],
    ]);
  });

  test.each([
    ["", "file: kargs: expected a list, it is missing"],
    ["foo = 1", "file: foo: expected one of kargs, match-architectures"],
    ['kargs = ["a"]\nmatch-architecture = ["b"]', "file: match-architecture: expected one of"],
    ['kargs = "a"', "file: kargs: expected a list of strings"],
    ["kargs = [1]", "file: kargs: expected a list of strings"],
    ['kargs = []\nmatch-architectures = "x86_64"', "file: match-architectures: expected a list"],
    ["kargs = [\n", "file, line "],
    ["[__proto__]\n", "file: __proto__: expected one of"],
  ])("%j is refused", (text, why) => {
    expect(() => parse(text)).toThrow(why);
  });
});

test("files count in the order of their names, on their architectures", () => {
  const files = new Map([
    ["20-b.toml", parse('kargs = ["b"]\nmatch-architectures = ["x86_64"]')],
    ["10-a.toml", parse('kargs = ["a", "c"]')],
    ["30-d.toml", parse('kargs = ["d"]\nmatch-architectures = ["aarch64", "s390x"]')],
  ]);
  expect(kargsOfFiles(files, kargsArchitecture("amd64"))).toEqual(["a", "c", "b"]);
  expect(kargsOfFiles(files, kargsArchitecture("arm64"))).toEqual(["a", "c", "d"]);
  expect(kargsOfFiles(files, kargsArchitecture("ppc64le"))).toEqual(["a", "c"]);
  expect(kargsArchitecture("constructor")).toBe("constructor");
});

test("which files count", () => {
  const names = ["a.toml", ".toml", "a.toml.rpmnew", "a.conf", "atoml", "a.TOML"];
  expect(names.filter(isKargsFile)).toEqual(["a.toml"]);
});
