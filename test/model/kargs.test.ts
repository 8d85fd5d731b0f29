import { expect, test } from "vitest";
import { composefsArgument, nextOptions } from "../../src/model/kargs.ts";

const A = "aa".repeat(64);
const B = "bb".repeat(64);

test.each([
  [
    "the machine's own arguments stay",
    `root=UUID=1 rw composefs=${A} quiet`,
    [],
    [],
    `root=UUID=1 rw composefs=${B} quiet`,
  ],
  [
    "what the image has gained comes",
    `rw composefs=${A}`,
    ["a"],
    ["a", "b=1"],
    `rw composefs=${B} b=1`,
  ],
  [
    "what the image has lost goes",
    `rw a composefs=${A} b=1`,
    ["a", "b=1"],
    ["a"],
    `rw a composefs=${B}`,
  ],
  ["what is there is not added again", `b composefs=${A}`, [], ["b"], `b composefs=${B}`],
  [
    "a digest with ?, and more than one (bootc#2010)",
    `composefs=?${A} rw composefs.digest=v1-sha512-12:${A}`,
    [],
    [],
    `composefs=${B} rw`,
  ],
  ["nothing was there", "", [], ["quiet"], `composefs=${B} quiet`],
  ["a bare composefs is no digest", "composefs rw", [], [], `composefs rw composefs=${B}`],
])("%s", (_, options, before, after, expected) => {
  expect(nextOptions(options, before, after, composefsArgument(B, false))).toBe(expected);
});

test("a deployment that need not have fs-verity says so", () => {
  expect(composefsArgument(A, true)).toBe(`composefs=?${A}`);
});
