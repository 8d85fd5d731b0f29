import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import {
  findKernel,
  listKernels,
  measureKernel,
  removeKernel,
  removeUnfinishedKernels,
  writeKernel,
} from "../../userspace/bootloader/kernels.ts";
import { linux } from "../../userspace/linux.ts";
import { troubleAt } from "../repository/trouble.ts";
import { kernelOf, temporaryEsp } from "./place.ts";

const A = "aa".repeat(64);
const B = "bb".repeat(64);
const KERNELS = "EFI/Linux";

test("a kernel is written, found by its digest, and removed", () => {
  using esp = temporaryEsp();
  const source = kernelOf("kernel", "initramfs");
  const { digest, size } = measureKernel(source);
  expect(digest).toBe(createHash("sha256").update("kernelinitramfs").digest("hex"));
  expect(size).toBe(15);

  writeKernel(linux, esp.place, A, source, digest);
  const directory = join(esp.path, KERNELS, `bootc_composefs-${A}`);
  expect(readFileSync(join(directory, "vmlinuz"), "utf8")).toBe("kernel");
  expect(readFileSync(join(directory, "initrd"), "utf8")).toBe("initramfs");
  expect(findKernel(linux, esp.place, digest)).toMatchObject({ artifact: A, complete: true });
  expect(findKernel(linux, esp.place, "00".repeat(32))).toBeUndefined();

  expect(removeKernel(linux, esp.place, `bootc_composefs-${A}`)).toBe(true);
  expect(existsSync(directory)).toBe(false);
  expect(removeKernel(linux, esp.place, `bootc_composefs-${A}`)).toBe(false);
});

test("a half-written directory is seen as such, is no obstacle, and is replaced (dakota#1273)", () => {
  using esp = temporaryEsp();
  esp.write(`${KERNELS}/bootc_composefs-${A}/vmlinuz`, "kern");
  const source = kernelOf("kernel", "initramfs");
  const { digest } = measureKernel(source);
  expect(listKernels(linux, esp.place)).toEqual([
    { artifact: A, name: `bootc_composefs-${A}`, complete: false },
  ]);
  expect(findKernel(linux, esp.place, digest)).toBeUndefined();
  writeKernel(linux, esp.place, A, source, digest);
  expect(findKernel(linux, esp.place, digest)).toMatchObject({ artifact: A });
  expect(readdirSync(join(esp.path, KERNELS))).toEqual([`bootc_composefs-${A}`]);
});

test("what is read back must be what was to be written; else the old one stays (tunaOS#818)", () => {
  using esp = temporaryEsp();
  const old = kernelOf("old", "old");
  writeKernel(linux, esp.place, A, old, measureKernel(old).digest);
  const zeros = kernelOf("\0\0\0", "new");
  expect(() =>
    writeKernel(linux, esp.place, A, zeros, measureKernel(kernelOf("new", "new")).digest),
  ).toThrow(`kernel ${esp.path}/${KERNELS}/bootc_composefs-${A}`);
  expect(findKernel(linux, esp.place, measureKernel(old).digest)).toMatchObject({ artifact: A });
  expect(readdirSync(join(esp.path, KERNELS))).toEqual([`bootc_composefs-${A}`]);
});

test("directories without the prefix are those of early releases; all others are foreign", () => {
  using esp = temporaryEsp();
  for (const name of [B, `bootc_composefs-${A}`, "debian", "bootc_composefs-12", "ab".repeat(65)]) {
    esp.write(`${KERNELS}/${name}/vmlinuz`, "kernel");
    esp.write(`${KERNELS}/${name}/initrd`, "initramfs");
  }
  esp.write(`${KERNELS}/${"cc".repeat(32)}`, "a file");
  expect(listKernels(linux, esp.place).map(({ artifact }) => artifact)).toEqual([B, A]);
  expect(() => removeKernel(linux, esp.place, "debian")).toThrow("no name of a kernel");
});

test("a write that fails at any call leaves the old kernel or the new one, and what it left is cleared away", () => {
  const old = kernelOf("old", "old");
  const next = kernelOf("new", "new");
  for (const kind of ["error", "death"] as const) {
    for (let nth = 1; ; nth++) {
      using esp = temporaryEsp();
      writeKernel(linux, esp.place, A, old, measureKernel(old).digest);
      const trouble = troubleAt(linux, nth, kind);
      try {
        writeKernel(trouble.linux, esp.place, A, next, measureKernel(next).digest);
      } catch {
        // which is the point
      }
      trouble.bury();
      const found = [old, next].filter((one) =>
        findKernel(linux, esp.place, measureKernel(one).digest),
      );
      expect(found, `${kind} at call ${nth}`).toHaveLength(1);
      removeUnfinishedKernels(linux, esp.place);
      expect(readdirSync(join(esp.path, KERNELS))).toEqual([`bootc_composefs-${A}`]);
      if (!trouble.happened()) break;
    }
  }
});
