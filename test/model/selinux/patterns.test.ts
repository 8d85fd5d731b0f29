/** The dialects of patterns. What is expected was seen of the engines that composefs-rs uses. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type ByteString, fromText } from "../../../src/formats/bytestring.ts";
import { Labels } from "../../../src/model/selinux/labels.ts";
import { Automaton } from "../../../src/model/selinux/regex/automaton.ts";
import { parseAutomatonSyntax } from "../../../src/model/selinux/regex/automaton-syntax.ts";

function compile(...patterns: string[]): (path: string) => number {
  const labels = new Labels(
    patterns.map((regex, i) => ({
      regex,
      type: undefined,
      context: String(i) as ByteString,
      place: `fc:${i + 1}`,
    })),
  );
  // Paths here need not begin with a slash: as names that the root directory stands for.
  return (path) => {
    const label = labels.label({ ...labels.root(), ...placeOf(labels, path) }, "-");
    return label === undefined ? -1 : Number(String.fromCharCode(...label));
  };
}

function placeOf(labels: Labels, path: string) {
  const root = labels.root();
  return labels.entry(root, path as ByteString);
}

/** Which of the names, below the root, the pattern matches. */
const matched = (pattern: string, names: readonly string[]) => {
  const find = compile(`/(${pattern})`);
  return names.filter((name) => find(name) === 0);
};

describe("the dialect of the automaton", () => {
  test.each<[pattern: string, yes: string[], no: string[]]>([
    ["a.c", ["abc", "a\nc", "a\xffc"], ["a\0c", "ac", "abcd"]],
    ["(?s:.)", ["\0"], [""]],
    ["(?R:.)", ["\0"], ["\n", "\r"]],
    ["a|b|", ["a", "b", ""], ["ab"]],
    ["ab?c*d+", ["ad", "abccdd"], ["abbd", "ac"]],
    ["a{2}b{1,2}c{1,}", ["aabc", "aabbccc"], ["abc", "aabbbc", "aab"]],
    // Not possessive: one or more of one or more.
    ["a++a", ["aa", "aaa"], ["a"]],
    ["a*?b??", ["", "a", "aab"], ["bb"]],
    ["[]a]", ["]", "a"], ["]a"]],
    ["[]-a]", ["]", "-", "a"], ["^", "_"]],
    ["[^]a]", ["b"], ["]", "a"]],
    ["[--a]", ["-", "a"], ["."]],
    ["[a-c.]", ["a", "b", "c", "."], ["d", "-"]],
    ["[a-]", ["a", "-"], ["b"]],
    ["[[:digit:]x]", ["1", "x"], ["d", ":"]],
    ["[[:^digit:]]", ["d"], ["1"]],
    // No such class: a class in a class.
    ["[[:foo:]]", [":", "f", "o"], ["x", "["]],
    ["[[:constructor:]]", ["c"], ["x"]],
    ["[a[bc]]", ["a", "b", "c"], ["[", "]"]],
    ["[a-z&&[^aeiou]]", ["b"], ["a", "&"]],
    ["[a-z--b]", ["a"], ["b", "-"]],
    ["[a-c~~b-d]", ["a", "d"], ["b", "c"]],
    ["[a-z&&b-y--c]", ["b", "d"], ["a", "c"]],
    ["[a&b]", ["a", "&", "b"], ["c"]],
    ["[\\d\\-\\]]", ["1", "-", "]"], ["\\"]],
    ["\\d\\s\\w", ["1 _", "9\va"], ["1\xa0a", "٣ a"]],
    ["\\D\\S\\W", ["ab-", "a\xe9\xe9"], ["1b-"]],
    ['\\.\\+\\/\\-\\ \\_\\"', ['.+/- _"'], ["x+/- _"]],
    ["\\x41\\x{42}\\u0043\\U00000044", ["ABCD"], ["abcd"]],
    // A byte; and text, which is UTF-8.
    ["\\xe9", ["\xe9"], ["\xc3\xa9"]],
    ["\\x{e9}", ["\xc3\xa9"], ["\xe9"]],
    ["é+", ["\xc3\xa9\xc3\xa9"], ["\xc3\xa9\xa9", "\xe9"]],
    ["😀", ["\xf0\x9f\x98\x80"], ["😀"]],
    ["(?i)aé[x-z]", ["A\xc3\xa9Y", "a\xc3\xa9z"], ["A\xc3\x89Y"]],
    ["(?i:a)b", ["Ab"], ["aB"]],
    ["((?i)a)b", ["Ab"], ["AB"]],
    ["(?i)[^a]", ["b"], ["a", "A"]],
    ["(?i)\\xe9(?-i)a", ["\xe9a"], ["\xc9a", "\xe9A"]],
    ["(?x)a#b", [], ["a", "a#b"]],
    ["(?P<n>a)(?<m>b)(?:c)", ["abc"], ["ab"]],
    ["a\\b-", ["a-"], ["-"]],
    ["a\\Bb", ["ab"], ["a"]],
    ["\\<a\\>-\\b{start-half}b", ["a-b"], []],
    ["a$", [], ["a"]],
    ["(?m)a$\n^b", ["a\nb"], ["ab"]],
    ["(?mR)a$\r\n^b", ["a\r\nb"], ["ab"]],
    ["(|a)+", ["", "aa"], ["b"]],
    ["[a&&b]|x", ["x"], ["a", "b"]],
    ["]}", ["]}"], []],
  ])("%s", (pattern, yes, no) => {
    // The comment would swallow the parentheses.
    if (pattern.includes("#")) {
      expect(() => parseAutomatonSyntax(`^(/(${pattern})).$`)).toThrow();
      return;
    }
    expect(() => parseAutomatonSyntax(`^(/(${pattern})).$`)).not.toThrow();
    expect(matched(pattern, [...yes, ...no])).toEqual(yes);
  });

  test("parentheses need only be balanced together with those around the pattern", () => {
    const find = compile("/(a))|(/b");
    // The first alternative does not ask for the end.
    expect(["a", "axyz", "b", "bx"].map(find)).toEqual([0, 0, 0, -1]);
  });
});

describe("the dialect for backtracking", () => {
  test.each<[pattern: string, yes: string[], no: string[]]>([
    ["a(?!b).*", ["a", "ac"], ["ab"]],
    ["a(?=b|c).*", ["ab", "ac"], ["a", "ad"]],
    [".*(?<=ab|c)d", ["abd", "cd"], ["bd", "d"]],
    [".*(?<!ab)d", ["bd", "d"], ["abd"]],
    ["(a|ab)(?=)c", ["ac", "abc"], ["ab"]],
    ["(?>a|ab)c", ["ac"], ["abc"]],
    ["(?:(?>a+)b|(?>a*)a)", ["aab"], ["aa"]],
    ["(?=)a++a", [], ["aa"]],
    ["(?=)a?+a", ["aa"], ["a"]],
    ["(a|b)\\2", ["aa", "bb"], ["ab"]],
    // The first group is what is around the pattern, and has not matched yet.
    ["(a|b)\\1", [], ["aa", "bb", "a"]],
    ["(?i)(a)\\2", ["aA", "AA"], ["ab"]],
    ["(?:(a)|b\\2)", ["a"], ["b", "ba"]],
    ["(?<x>a|b)-\\k<x>\\k{x}\\g{-1}(?P=x)", ["a-aaaa"], ["a-aaab"]],
    ["((a)|b)+\\3", ["aba", "aa"], ["ab", "b"]],
    ["(?=)a.c", ["abc", "a\0c"], ["a\nc"]],
    ["(?=)\\h\\Ha", [" ba"], ["bba"]],
    ["\\Qa.b|\\E*", ["a.b", "a.b||"], ["axb"]],
    ["[\\Q^-]\\E]+(?=)", ["^-]"], ["a"]],
    ["(?:a\\Zb|\\Gc|d\\e)", [], ["a", "c"]],
    ["a{,2}", ["", "aa"], ["aaa"]],
    ["%{USERID}/a{x}", ["%{USERID}/a{x}"], ["%USERID/a{x}"]],
    ["(?=)[[a]]", ["[]", "a]"], ["[", "a"]],
    ["[é]", ["\xc3", "\xa9"], ["\xc3\xa9"]],
    ["(?=)é+", ["\xc3\xa9\xa9"], ["\xc3\xa9\xc3\xa9"]],
    ["(?=)[a-c[:digit:]\\b]", ["b", "7", "\b"], ["d", ":"]],
    ["(?=)\\101\\x\\x{42}\\o{103}\\07", ["A\0BC\x07"], []],
    ["(?=)(?i-s:a)(?^:b)(?#comment)c", ["Abc"], ["aBc"]],
    ["(?=)(a*)*(|b){3}c??", ["", "aab", "bbbc"], ["bbbb"]],
    ["(?=)(ab){1,2}?(ab|x)*?", ["ab", "ababx"], ["a"]],
  ])("%s", (pattern, yes, no) => {
    expect(() => parseAutomatonSyntax(`^(/(${pattern})).$`)).toThrow();
    const find = compile(`/${pattern}`);
    expect([...yes, ...no].filter((name) => find(name) === 0)).toEqual(yes);
  });
});

describe("patterns that are refused name their line", () => {
  test.each([
    ["/(a", "unclosed group at offset 0"],
    ["/a)", '")" closes no group at offset 3'],
    ["/(?=)a*+*", "a quantifier after a quantifier"],
    ["/(?=)a\\b*", "a quantifier without what it repeats"],
    ["/(?=)$?", "a quantifier without what it repeats"],
    ["|*", "a quantifier without what it repeats at offset 1"],
    ["/[a", "unclosed class at offset 1"],
    ["/(?=)[z-a]", "a range that is no range of characters"],
    ["/(?=)[\\d-z]", "a range that is no range of characters"],
    ["/(?=)a{3,2}", "the quantifier {3,2} is the wrong way round"],
    ["/(?=)a{99999}", "too large a number"],
    ["/(?u)é", "the flag u, for Unicode,"],
    ["/(?1)", "a group that is not supported"],
    ["/\\p{L}", 'the escape "\\p" is unknown or not supported'],
    ["/(?&x)(?<x>a)", "a group that is not supported"],
    ["/(?(1)a)", "a group that is not supported"],
    ["/(*FAIL)", "verbs are not supported"],
    ["/(a)\\3", "there is no group 3"],
    ["/\\k<x>", "no group has the name x here"],
    ["/[[:foo:](?=)]\\Z[[:foo:]]", "unknown POSIX class"],
    ["/\\", "unclosed group"],
    ["/((((a{1000}){1000}){1000}){1000}){1000}", "too large together with all before"],
    ["/((((){1000}){1000}){1000}){1000}", "too large together with all before"],
    [`/${"(".repeat(300)}${")".repeat(300)}`, "too many nested groups"],
    [`/a${"*".repeat(300)}`, "a quantifier after a quantifier"],
    [`/${"[".repeat(300)}`, "unclosed class"],
  ])("%#", (pattern, why) => {
    let error: unknown;
    try {
      compile("/fine", pattern);
    } catch (caught) {
      error = caught;
    }
    expect(error).toMatchObject({ message: `fc:2: pattern "${pattern}"` });
    const { cause } = error as Error;
    expect((cause as Error).message).toContain(why);
  });

  test("any text is a pattern or an error, soon", () => {
    const parts = fc.constantFrom(
      ...["(", ")", "[", "]", "{", "}", "^", "$", "|", "*", "+", "?", "\\", "-", "&&", ":", "a"],
      ...[
        "(?",
        "(?=",
        "(?i)",
        "[[:",
        ":]]",
        "{2,3}",
        "\\x",
        "\\Q",
        "\\E",
        "\\1",
        "é",
        "(?<n>",
        "0",
      ],
    );
    const text = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.array(parts).map((all) => all.join("")),
    );
    fc.assert(
      fc.property(text, fc.array(text, { maxLength: 3 }), (pattern, names) => {
        let find: (path: string) => number;
        try {
          find = compile(pattern);
        } catch (error) {
          expect((error as Error).message).toBe(`fc:1: pattern "${pattern}"`);
          return;
        }
        for (const name of names) find(fromText(name));
      }),
      { numRuns: 2000 },
    );
  });
});

test("the automaton finds what JavaScript finds where both mean the same", () => {
  const letter = fc.constantFrom("a", "b", "/", "\\.", "[ab]", "[^a]", ".");
  const { pattern } = fc.letrec<{ pattern: string }>((tie) => ({
    pattern: fc.oneof(
      { maxDepth: 4 },
      letter,
      fc.tuple(tie("pattern"), tie("pattern")).map(([a, b]) => a + b),
      fc.tuple(tie("pattern"), tie("pattern")).map(([a, b]) => `(${a}|${b})`),
      fc
        .tuple(tie("pattern"), fc.constantFrom("*", "+", "?", "{2}", "{1,2}", "*?"))
        .map(([a, q]) => `(${a})${q}`),
    ),
  }));
  const name = fc.array(fc.constantFrom("a", "b", "/", ".", "\xff")).map((all) => all.join(""));
  fc.assert(
    fc.property(
      fc.array(pattern, { minLength: 1, maxLength: 5 }),
      fc.array(name, { minLength: 1, maxLength: 5 }),
      (patterns, names) => {
        const find = compile(...patterns.map((p) => `/${p}`));
        const expressions = patterns.map((p) => new RegExp(`^(?:/${p})$`, "s"));
        for (const path of names) {
          expect(find(path)).toBe(expressions.findLastIndex((e) => e.test(`/${path}`)));
        }
      },
    ),
    { numRuns: 1000 },
  );
});

test("more states than the cache holds change nothing, and neither do contrived patterns", () => {
  // Which letter stood 18 places before the end: 2^18 states, each of many instructions.
  const text = `^/(a|b)*a(a|b){18}-$`;
  const automaton = new Automaton([parseAutomatonSyntax(text)], () => text);
  let seed = 1;
  const letter = () => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return (seed >> 16) & 1 ? "a" : "b";
  };
  const held: (readonly [path: string, state: ReturnType<Automaton["read"]>])[] = [];
  const check = (path: string, state: ReturnType<Automaton["read"]>) => {
    const found = automaton.result(automaton.read(state, "-"));
    expect(found).toBe(path.at(-19) === "a" ? 0 : -1);
  };
  let state = automaton.read(automaton.start, "/");
  let path = "/";
  for (let i = 0; i < 150_000; i++) {
    const next = letter();
    path = path.slice(-40) + next;
    state = automaton.read(state, next);
    if (i % 500 === 100) held.push([path, state]);
    if (i % 100 === 99) check(path, state);
  }
  for (const [before, from] of held) check(before, from);
});
