import fc from "fast-check";
import { expect, test } from "vitest";
import {
  comparePackageNames,
  compareRpmVersions,
  splitPackageName,
} from "../../src/formats/rpm-version.ts";

const sign = (order: number) => (order === 0 ? "==" : order < 0 ? "<" : ">");

test.each([
  ["1.0", "==", "1.0"],
  ["1.0", "<", "2.0"],
  ["2.0.1", "<", "2.0.1a"],
  ["5.5p1", "<", "5.5p2"],
  ["5.5p10", ">", "5.5p1"],
  ["10xyz", "<", "10.1xyz"],
  ["xyz10", "<", "xyz10.1"],
  ["xyz.4", "<", "8"],
  ["1.0010", ">", "1.9"],
  ["1.05", "==", "1.5"],
  ["2_0", "==", "2.0"],
  ["a.+", "==", "a_"],
  ["1.0~rc1", "<", "1.0"],
  ["1.0~rc1~git123", "<", "1.0~rc1"],
  ["1.0^", ">", "1.0"],
  ["1.0^git1", "<", "1.01"],
  ["1.0^git1", "<", "1.0.1"],
  ["1.0~rc1^git1", ">", "1.0~rc1"],
  ["1.0^git1~pre", "<", "1.0^git1"],
  ["", "<", "0"],
  ["9".repeat(30), "<", `1${"0".repeat(30)}`],
] as const)("%j %s %j", (a, order, b) => {
  expect(sign(compareRpmVersions(a, b))).toBe(order);
  expect(sign(-compareRpmVersions(b, a))).toBe(order);
});

test("to GRUB a caret is a separator", () => {
  expect(compareRpmVersions("1.0^1", "1.0.1", false)).toBe(0);
  expect(compareRpmVersions("1.0^1", "1.0.1", true)).toBeLessThan(0);
});

test("package names are split at the last two dashes", () => {
  expect(splitPackageName("kernel-core-5.14.0-362.fc38")).toEqual({
    name: "kernel-core",
    version: "5.14.0",
    release: "362.fc38",
  });
  expect(splitPackageName("bootc_fedora_coreos-41.2025.0-1")).toEqual({
    name: "bootc_fedora_coreos",
    version: "41.2025.0",
    release: "1",
  });
  expect(splitPackageName("ostree-2")).toEqual({ name: "ostree", version: "2", release: "" });
  expect(splitPackageName("fwupd")).toEqual({ name: "fwupd", version: "", release: "" });
  expect(splitPackageName("a--")).toEqual({ name: "a", version: "", release: "" });
});

test.each([
  ["bootc_fedora-41.0-1", ">", "bootc_fedora-41.0-0"],
  ["bootc_fedora-42.0-0", ">", "bootc_fedora-41.0-1"],
  ["bootc_fedora-10-1", ">", "bootc_fedora-9-1"],
  ["bootc_rhel-9-0", ">", "bootc_fedora-41-1"],
  ["bootc_a-1.0-1", "==", "bootc_a-1_0-1"],
  ["kernel-5.10-1", ">", "kernel-5.9-200"],
] as const)("GRUB: %s %s %s", (a, order, b) => {
  expect(sign(comparePackageNames(a, b))).toBe(order);
});

test("both ways around it is the same", () => {
  const version = fc.string({ unit: fc.constantFrom(..."~^.-_019abA"), maxLength: 8 });
  fc.assert(
    fc.property(version, version, fc.boolean(), (a, b, caret) => {
      const there = Math.sign(compareRpmVersions(a, b, caret));
      const back = Math.sign(compareRpmVersions(b, a, caret));
      expect(compareRpmVersions(a, a, caret)).toBe(0);
      expect(there + back).toBe(0);
    }),
  );
});
