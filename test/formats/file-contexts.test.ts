import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  parseFileContexts,
  parseSelinuxConfig,
  parseSubstitutions,
} from "../../src/formats/file-contexts.ts";

const bytes = (text: string) => new Uint8Array(Buffer.from(text));

describe("file_contexts", () => {
  test("lines of a pattern, a type or none, and a context", () => {
    const text =
      "# comment\n\n/.*\tsystem_u:object_r:default_t:s0\n" +
      "  \t# also one\r\n/dev/null   -c  null_t:s0 \r\n/x# -- <<none>>\n/dev/sd.* -b b_t";
    expect(parseFileContexts(bytes(text), "fc")).toEqual([
      { regex: "/.*", type: undefined, context: "system_u:object_r:default_t:s0", place: "fc:3" },
      { regex: "/dev/null", type: "c", context: "null_t:s0", place: "fc:5" },
      { regex: "/x#", type: "-", context: "<<none>>", place: "fc:6" },
      { regex: "/dev/sd.*", type: "b", context: "b_t", place: "fc:7" },
    ]);
  });

  test("white space is what Unicode says, contexts are bytes", () => {
    const [line] = parseFileContexts(bytes("/é\u00a0-d\u2003t_é\u0085"), "fc");
    expect(line).toMatchObject({ regex: "/é", type: "d", context: "t_\u00c3\u00a9" });
    // A byte order mark is not white space.
    expect(parseFileContexts(bytes("\ufeff/a t"), "fc")[0]!.regex).toBe("\ufeff/a");
  });

  test.each([
    ["/a", "fc:2: expected a pattern, a file type or none, and a context"],
    ["/a -d", "fc:2: expected a pattern, a file type or none, and a context"],
    ["/a -x t", 'fc:2: unknown file type "-x", expected one of -b -c -d -p -l -s --'],
    ["/a - t", 'fc:2: unknown file type "-"'],
    ["/a -dd t", 'fc:2: unknown file type "-dd"'],
    ["/a t # comment", 'fc:2: "#" after the context'],
    ["/a -d t more", 'fc:2: "more" after the context'],
  ])("%j is refused", (line, message) => {
    expect(() => parseFileContexts(bytes(`# first\n${line}\n`), "fc")).toThrow(message);
  });

  test("what is not UTF-8 is refused", () => {
    const text = Uint8Array.of(0x2f, 0x0a, 0x2f, 0xe9, 0x20, 0x74, 0x0a);
    expect(() => parseFileContexts(text.subarray(2), "fc")).toThrow(
      'fc:1: "/\\xe9 t" is not UTF-8',
    );
  });

  test("any bytes give lines or an error that names one", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (input) => {
        try {
          parseFileContexts(input, "fc");
        } catch (error) {
          expect((error as Error).message).toMatch(/^fc:\d+: /);
        }
      }),
    );
  });
});

test("substitutions are pairs of paths", () => {
  expect(parseSubstitutions(bytes("# no\n/lib64 /usr/lib\n\n /a\t/b  \n"), "s")).toEqual([
    ["/lib64", "/usr/lib"],
    ["/a", "/b"],
  ]);
  for (const line of ["/a", "/a /b /c"]) {
    expect(() => parseSubstitutions(bytes(`\n${line}`), "s")).toThrow("s:2: expected two paths");
  }
});

test.each([
  ["SELINUX=enforcing\n# SELINUXTYPE=mls\n selinuxType = targeted \r\nSELINUXTYPE=x", "targeted"],
  ["SELINUXTYPE=a=b", "a=b"],
  ['SELINUXTYPE="quoted"', '"quoted"'],
  ["SELINUXTYPE=", ""],
  ["#SELINUXTYPE=x\nSELINUXTYPE\nTYPE=x\n", undefined],
])("config %j names the policy %j", (text, name) => {
  expect(parseSelinuxConfig(bytes(text), "config")).toBe(name);
});

test("what follows the policy's name in the config is not looked at", () => {
  const config = Buffer.concat([Buffer.from("SELINUXTYPE=x\n"), Buffer.from([0xff])]);
  expect(parseSelinuxConfig(config, "config")).toBe("x");
  expect(() => parseSelinuxConfig(config.subarray(14), "config")).toThrow("config:1: ");
});
