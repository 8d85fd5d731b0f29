import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  parseArgument,
  parseComposefsArguments,
  parseVolatile,
  splitCmdline,
} from "../../src/formats/cmdline.ts";

const A = "0123456789abcdef".repeat(4);
const B = "fedcba9876543210".repeat(8);

describe("splitCmdline", () => {
  test("splits at white space outside quotes and keeps the quotes", () => {
    expect(splitCmdline(' ro\troot=/dev/vda  dyndbg="file a.c +p; file b.c" "x y=1"z\n')).toEqual([
      "ro",
      "root=/dev/vda",
      'dyndbg="file a.c +p; file b.c"',
      '"x y=1"z',
    ]);
    expect(splitCmdline("")).toEqual([]);
    expect(splitCmdline('open "to the end')).toEqual(["open", '"to the end']);
  });

  test("joined arguments split into the same arguments again", () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom("a", "=", " ", '"', "\t", "?") }), (line) => {
        const parts = splitCmdline(line);
        expect(splitCmdline(parts.join(" "))).toEqual(parts);
        for (const part of parts) expect(part).not.toBe("");
        const significant = (text: string) => text.replaceAll(/[ \t]/g, "");
        expect(significant(parts.join(""))).toBe(significant(line));
      }),
    );
  });
});

test("parseArgument takes quotes off as the kernel does", () => {
  expect(parseArgument('a="b c"')).toEqual({ key: "a", value: "b c" });
  expect(parseArgument('"a=b c"')).toEqual({ key: "a", value: "b c" });
  expect(parseArgument("a=b=c")).toEqual({ key: "a", value: "b=c" });
  expect(parseArgument("a=")).toEqual({ key: "a", value: "" });
  expect(parseArgument("a")).toEqual({ key: "a", value: undefined });
});

describe("parseComposefsArguments", () => {
  test("finds every spelling, in order", () => {
    const line = `quiet composefs.digest=v1-sha256-12:${A} composefs=?${B} composefs.digest=?v2-sha512-12:${B.toUpperCase()} composefs=sha256:${A} composefs=?sha512:${B} "composefs=${A}"`;
    expect(
      parseComposefsArguments(line).map((a) => [a.hash, a.digest, a.erofs, a.insecure]),
    ).toEqual([
      ["sha256", A, 1, false],
      ["sha512", B, undefined, true],
      ["sha512", B, 2, true],
      ["sha256", A, undefined, false],
      ["sha512", B, undefined, true],
      ["sha256", A, undefined, false],
    ]);
  });

  test("leaves other arguments alone", () => {
    expect(
      parseComposefsArguments(`composefs xcomposefs=1 composefs.other=2 "quoted composefs=${A}"`),
    ).toEqual([]);
  });

  const short = "expected composefs=DIGEST with 64 (sha256) or 128 (sha512) hex digits";
  const long = "expected composefs.digest=v1-sha512-12:DIGEST (v1 or v2, sha256 or sha512, 12)";
  test.each([
    ["composefs=", `the digest has 0 hex digits; ${short}`],
    ["composefs=?", `the digest has 0 hex digits; ${short}`],
    [`composefs=${A}0`, `the digest has 65 hex digits; ${short}`],
    [`composefs=${A.slice(1)}g`, `a digest is hex digits; ${short}`],
    [`composefs=??${A}`, `a digest is hex digits; ${short}`],
    [`composefs=sha512:${A}`, `the digest has 64 hex digits; ${short}`],
    [`composefs=md5:${A}`, `a digest is hex digits; ${short}`],
    [`composefs.digest=${A}`, long],
    [`composefs.digest=v3-sha256-12:${A}`, long],
    [`composefs.digest=v1-sha256-16:${A}`, long],
    [`composefs.digest=v1?-sha256-12:${A}`, long],
    [`composefs.digest=v1-sha512-12:${A}`, `the digest has 64 hex digits; ${long}`],
  ])("refuses %s", (argument, why) => {
    expect(() => parseComposefsArguments(`ro ${argument} composefs=${A}`)).toThrow(
      new Error(`malformed kernel argument ${argument}: ${why}`),
    );
  });

  test("a valid list survives any surroundings", () => {
    const argument = fc.record({
      hash: fc.constantFrom("sha256" as const, "sha512" as const),
      erofs: fc.constantFrom(undefined, 1 as const, 2 as const),
      insecure: fc.boolean(),
      seed: fc.uint8Array({ minLength: 64, maxLength: 64 }),
    });
    const noise = fc.constantFrom("ro", "rw", 'a="b c"', "systemd.volatile=state", "composefsx=1");
    fc.assert(
      fc.property(fc.array(fc.tuple(argument, noise), { maxLength: 6 }), (wanted) => {
        const digest = (a: (typeof wanted)[number][0]) =>
          Buffer.from(a.seed)
            .toString("hex")
            .slice(0, a.hash === "sha256" ? 64 : 128);
        const line = wanted
          .map(([a, other]) => {
            const mark = a.insecure ? "?" : "";
            return a.erofs === undefined
              ? `${other} composefs=${mark}${digest(a)}`
              : `composefs.digest=${mark}v${a.erofs}-${a.hash}-12:${digest(a)} ${other}`;
          })
          .join("  ");
        expect(parseComposefsArguments(line)).toMatchObject(
          wanted.map(([a]) => ({
            digest: digest(a),
            hash: a.hash,
            erofs: a.erofs,
            insecure: a.insecure,
          })),
        );
      }),
    );
  });

  test("nothing but a clear error comes out of any text", () => {
    const unit = fc.constantFrom(
      "composefs=",
      "composefs.digest=",
      "?",
      "v1-sha256-12:",
      A,
      " ",
      '"',
      "x",
    );
    fc.assert(
      fc.property(fc.array(unit, { maxLength: 12 }), (parts) => {
        try {
          for (const { digest } of parseComposefsArguments(parts.join(""))) {
            expect(digest).toMatch(/^([0-9a-f]{64}|[0-9a-f]{128})$/);
          }
        } catch (error) {
          expect((error as Error).message).toMatch(/^malformed kernel argument .*: .*expected /);
        }
      }),
    );
  });
});

test.each([
  ["quiet", "no"],
  ["systemd.volatile", "yes"],
  ["systemd.volatile=yes", "yes"],
  ["systemd.volatile=0", "no"],
  ["systemd.volatile=state", "state"],
  ["systemd.volatile=state systemd.volatile=overlay", "overlay"],
  ["rd.systemd.volatile=state", "no"],
] as const)("parseVolatile %s", (line, mode) => {
  expect(parseVolatile(line)).toBe(mode);
});
