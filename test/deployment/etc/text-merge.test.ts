import fc from "fast-check";
import { expect, test } from "vitest";
import { mergeText } from "../../../userspace/deployment/etc/text-merge.ts";

test.each([
  ["different lines", "a\nb\nc\n", "A\nb\nc\n", "a\nb\nC\n", "A\nb\nC\n"],
  ["the same line alike", "a\nb\n", "a\nx\n", "a\nx\n", "a\nx\n"],
  [
    "a line removed, one added elsewhere",
    "a\nb\nc\nd\n",
    "b\nc\nd\n",
    "a\nb\nc\nd\ne\n",
    "b\nc\nd\ne\n",
  ],
  ["no end of the last line", "a\nb\nc", "A\nb\nc", "a\nb\nc", "A\nb\nc"],
  [
    "ends of lines of other systems",
    "a\r\nb\r\nc\r\n",
    "A\r\nb\r\nc\r\n",
    "a\r\nb\r\nC\r\n",
    "A\r\nb\r\nC\r\n",
  ],
  ["the same line differently", "a\nb\nc\n", "a\nx\nc\n", "a\ny\nc\n", undefined],
  ["different lines added in one place", "a\n", "a\nx\n", "a\ny\n", undefined],
  ["a line changed that the other removed", "a\nb\nc\n", "a\nx\nc\n", "a\nc\n", undefined],
])("%s", (_, base, local, image, merged) => {
  expect(mergeText(base, local, image)).toBe(merged);
});

const text = fc
  .array(fc.constantFrom("a", "b", "c", "", "d\r"), { maxLength: 12 })
  .chain((lines) => fc.constantFrom("", "\n").map((end) => lines.join("\n") + end));

test("what only one changed, or both alike, is that", () => {
  fc.assert(
    fc.property(text, text, (base, other) => {
      expect(mergeText(base, other, base)).toBe(other);
      expect(mergeText(base, base, other)).toBe(other);
      expect(mergeText(base, other, other)).toBe(other);
    }),
    { numRuns: 2000 },
  );
});

test.each([
  ["one line over and over", Array(500_000).fill("\n")],
  ["all lines different", Array.from({ length: 140_000 }, (_, i) => `${i}\n`)],
])("a megabyte of %s is given up soon", (_, lines: string[]) => {
  const started = performance.now();
  const [local, image] = [
    ["x\n", ...lines, "x\n"],
    ["y\n", ...lines, "z\n"],
  ];
  expect(mergeText(lines.join(""), local.join(""), image.join(""))).toBeUndefined();
  expect(performance.now() - started).toBeLessThan(10_000);
});

test("a large text with changes in the middle is merged", () => {
  const lines = Array.from({ length: 140_000 }, (_, i) => `${i}\n`);
  const [local, image] = [lines.with(70_000, "x\n"), lines.with(70_009, "y\n")];
  const merged = lines.with(70_000, "x\n").with(70_009, "y\n");
  expect(mergeText(lines.join(""), local.join(""), image.join(""))).toBe(merged.join(""));
});
