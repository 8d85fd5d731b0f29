import { expect, test } from "vitest";
import { RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS } from "../../src/linux/constants.ts";
import type { NativeCalls } from "../../src/linux/native.ts";
import { createLinux } from "../../src/linux/syscalls.ts";

const EAGAIN = 11;

/** A kernel in which `openat2` fails so often before it succeeds. */
function busy(failures: number) {
  let calls = 0;
  const native = {
    openat2: () => (calls++ < failures ? -EAGAIN : 7),
    describe_errno: () => 0,
  } as unknown as NativeCalls;
  const open = (resolve: number) => createLinux(native).openat2(3, "a", { flags: 0, resolve });
  return { open, calls: () => calls };
}

test("a scoped openat2 is repeated while something else is renamed or mounted", () => {
  expect(busy(20).open(RESOLVE_BENEATH)).toBe(7);
});

test("but not for ever, and not when EAGAIN means something else", () => {
  expect(() => busy(Number.POSITIVE_INFINITY).open(RESOLVE_BENEATH)).toThrow("openat2 a");
  const other = busy(1);
  expect(() => other.open(RESOLVE_NO_SYMLINKS)).toThrow("openat2 a");
  expect(other.calls()).toBe(1);
});
