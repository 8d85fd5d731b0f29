import { expect, test } from "vitest";
import {
  differingArguments,
  isSoftRebooted,
  kernelObstacles,
} from "../../src/model/soft-reboot.ts";

const A = "aa".repeat(64);
const B = "bb".repeat(64);

const state = (
  options: string | undefined,
  bootDigest: string | undefined = "1",
  artifact = A,
) => ({
  ...{ options, bootDigest, artifact },
});

test("the image is no difference, whichever argument names it, and neither is its ?", () => {
  expect(kernelObstacles(state(`rw composefs=${A}`), state(`rw composefs=?${B}`))).toEqual([]);
  const digest = `composefs.digest=v1-sha512-12:${B}`;
  expect(kernelObstacles(state(`composefs=${A} rw`), state(`${digest} rw`))).toEqual([]);
});

test.each([
  ["rw quiet", "quiet rw", []],
  ["rw", "rw quiet", ["+quiet"]],
  ["rw quiet", "rw", ["-quiet"]],
  ["a=1", "a=2", ["-a=1", "+a=2"]],
  ["a=1 a=1", "a=1", ["-a=1", "-a=1", "+a=1"]],
  // the last console is /dev/console
  [
    "console=tty0 console=ttyS0",
    "console=ttyS0 console=tty0",
    ["-console=tty0", "-console=ttyS0", "+console=ttyS0", "+console=tty0"],
  ],
  ['a="b c"', 'a="b d"', ['-a="b c"', '+a="b d"']],
  ["x-y=1 x_y=2", "x_y=2 x-y=1", ["-x-y=1", "-x_y=2", "+x_y=2", "+x-y=1"]],
])("from %j to %j", (before, after, differing) => {
  expect(differingArguments(before, after)).toEqual(differing);
});

test("every reason is told", () => {
  expect(kernelObstacles(state("rw"), state("ro", "2"))).toEqual([
    "it has another kernel or initramfs",
    "it has other kernel arguments: -rw +ro",
  ]);
  expect(kernelObstacles(state("rw"), state(undefined))).toEqual([
    "the arguments in a unified kernel image are not compared",
  ]);
});

test("where no digest is known, the same files are the same kernel", () => {
  expect(kernelObstacles(state("rw", "1", A), { ...state("rw"), bootDigest: undefined })).toEqual(
    [],
  );
  expect(kernelObstacles(state("rw", "1", B), { ...state("rw"), bootDigest: undefined })).toEqual([
    "it has another kernel or initramfs",
  ]);
});

test("after a soft reboot the kernel's arguments name what ran before", () => {
  expect(isSoftRebooted(`rw composefs=${A}`, B)).toBe(true);
  expect(isSoftRebooted(`rw composefs=?${A}`, A)).toBe(false);
  expect(isSoftRebooted(`composefs.digest=v1-sha512-12:${A} composefs=${B}`, B)).toBe(false);
  // nothing is known
  expect(isSoftRebooted(undefined, B)).toBe(false);
  expect(isSoftRebooted("rw", B)).toBe(false);
  expect(isSoftRebooted("composefs=x", B)).toBe(false);
});
