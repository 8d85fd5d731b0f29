import { expect, test } from "vitest";
import { countsBoots, loaderOf } from "../../src/model/loader.ts";

test.each([
  ["systemd-boot 257.9-1~deb13u1", "systemd-boot"],
  ["GRUB 2.12", "grub"],
  ["GRUB CC 2.14", "grub-cc"],
  ["grub cc", "grub-cc"],
  ["U-Boot 2025.01", undefined],
  [undefined, undefined],
] as const)("LoaderInfo %j is %j", (info, loader) => {
  expect(loaderOf(info)).toBe(loader);
});

test("boots are counted where the loader can rename entries or write variables", () => {
  expect(["systemd-boot", "grub", "grub-cc"].map((one) => countsBoots(one as "grub"))).toEqual([
    true,
    true,
    false,
  ]);
});
