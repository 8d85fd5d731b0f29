import { spawnSync } from "node:child_process";
import fc from "fast-check";
import { expect, test } from "vitest";
import { compareUapiVersions } from "../../src/formats/uapi-version.ts";

/** The examples of the specification, in its order. */
const EXAMPLES: readonly (readonly [string, "<" | "==" | ">", string])[] = [
  ["11", "==", "11"],
  ["systemd-123", "==", "systemd-123"],
  ["bar-123", "<", "foo-123"],
  ["123a", ">", "123"],
  ["123.a", ">", "123"],
  ["123.a", "<", "123.b"],
  ["123a", ">", "123.a"],
  ["11α", "==", "11β"],
  ["A", "<", "a"],
  ["", "<", "0"],
  ["0.", ">", "0"],
  ["0.0", ">", "0"],
  ["0", ">", "~"],
  ["", ">", "~"],
  ["1_", "==", "1"],
  ["_1", "==", "1"],
  ["1_", "<", "1.2"],
  ["1_2_3", ">", "1.3.3"],
  ["1+", "==", "1"],
  ["+1", "==", "1"],
  ["1+", "<", "1.2"],
  ["1+2+3", ">", "1.3.3"],
];

/** Of kernels and distributions. */
const MORE: typeof EXAMPLES = [
  ["6.12.9", "<", "6.12.10"],
  ["6.12.0-rc1", "<", "6.12.1"],
  ["6.12~rc1", "<", "6.12"],
  ["123.45-67.88.fc34", "<", "123.45-67.89"],
  ["123.45^patch", ">", "123.45"],
  ["123.45^patch", "<", "123.45.1"],
  ["00123", "==", "123"],
  ["9".repeat(30), "<", `1${"0".repeat(30)}`],
  ["1.a", "<", "1.1"],
  ["a1", "<", "ab"],
  ["a-", ">", "a"],
  ["41.20251125.0", ">", "41.20251124.9"],
];

const sign = (order: number) => (order === 0 ? "==" : order < 0 ? "<" : ">");

test.each([...EXAMPLES, ...MORE])("%j %s %j", (a, order, b) => {
  expect(sign(compareUapiVersions(a, b))).toBe(order);
  expect(sign(-compareUapiVersions(b, a))).toBe(order);
});

const unit = fc.constantFrom(..."~-^.+_01aAbβ", "00", "10");
const version = fc.string({ unit, maxLength: 8 });

test("is an order", () => {
  fc.assert(
    fc.property(version, version, version, (a, b, c) => {
      expect(compareUapiVersions(a, a)).toBe(0);
      expect(Math.sign(compareUapiVersions(a, b)) + Math.sign(compareUapiVersions(b, a))).toBe(0);
      const [x, y, z] = [a, b, c].sort(compareUapiVersions) as [string, string, string];
      expect(compareUapiVersions(x, z)).toBeLessThanOrEqual(0);
      expect(compareUapiVersions(y, z)).toBeLessThanOrEqual(0);
    }),
  );
});

test("is systemd's", (ctx) => {
  const analyze = (...args: string[]) =>
    spawnSync("systemd-analyze", ["compare-versions", ...args], { encoding: "utf8" });
  if (!/^1 < 2/.test(analyze("1", "2").stdout ?? "")) {
    ctx.skip("systemd-analyze (250 or later) is not installed");
  }
  fc.assert(
    // neither empty, which it prints in quotes, nor with a leading minus, which makes an option
    fc.property(version, version, (left, right) => {
      const [a, b] = [`x${left}`, `x${right}`];
      const [, order] = /^\S+ (<|==|>) \S+\n$/.exec(analyze(a, b).stdout) ?? [];
      expect([a, sign(compareUapiVersions(a, b)), b]).toEqual([a, order, b]);
    }),
    { numRuns: Number(process.env.CFSBOOT_FUZZ_RUNS ?? 60) },
  );
});
