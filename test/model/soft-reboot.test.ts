import { expect, test } from "vitest";
import { isSoftRebooted } from "../../src/model/soft-reboot.ts";

const A = "aa".repeat(64);
const B = "bb".repeat(64);

test("after a soft reboot the kernel's arguments name what ran before", () => {
  expect(isSoftRebooted(`rw composefs=${A}`, B)).toBe(true);
  expect(isSoftRebooted(`rw composefs=?${A}`, A)).toBe(false);
  expect(isSoftRebooted(`composefs.digest=v1-sha512-12:${A} composefs=${B}`, B)).toBe(false);
  // nothing is known
  expect(isSoftRebooted(undefined, B)).toBe(false);
  expect(isSoftRebooted("rw", B)).toBe(false);
  expect(isSoftRebooted("composefs=x", B)).toBe(false);
});
