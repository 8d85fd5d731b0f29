import { describe, expect, test } from "vitest";
import { type LayoutWishes, planPartitions, sfdiskScript } from "../../src/model/disk-layout.ts";

const MIB = 2 ** 20;
const GIB = 2 ** 30;
const wishes = {
  ...{ architecture: "amd64", espSize: GIB, bios: false },
  ...{ diskSize: 10 * GIB, sectorSize: 512 },
};
const plan = (more: Partial<LayoutWishes> = {}) =>
  planPartitions({ ...wishes, ...more }).map(({ role, start, size }) => [
    role,
    start / MIB,
    size / MIB,
  ]);

test("an ESP, and the rest for the root", () => {
  expect(plan()).toEqual([
    ["esp", 1, 1024],
    ["root", 1025, 10 * 1024 - 1026],
  ]);
});

test("what is asked for, in MiB, one after the other (bootc#2132)", () => {
  expect(plan({ bios: true, xbootldrSize: 512 * MIB + 1, rootSize: 4 * GIB })).toEqual([
    ["bios", 1, 1],
    ["esp", 2, 1024],
    ["xbootldr", 1026, 512],
    ["root", 1538, 4096],
  ]);
});

test.each([
  ["amd64", "4f68bce3-e8cd-4db1-96e7-fbcaf984b709"],
  ["arm64", "b921b045-1df0-41c3-af44-4c6f280d3fae"],
  ["riscv64", "72ec70a6-cf74-40e6-bd49-4bda08e8f224"],
])("the root's type on %s, which has a partition for BIOS only on PCs", (architecture, type) => {
  const partitions = planPartitions({ ...wishes, architecture, bios: true });
  expect(partitions.at(-1)).toMatchObject({ role: "root", type });
  expect(partitions.some(({ role }) => role === "bios")).toBe(architecture === "amd64");
});

describe("refuses", () => {
  test.each<[string, Partial<LayoutWishes>, string]>([
    [
      "a machine without UEFI",
      { architecture: "s390x" },
      "architecture s390x: expected one whose machines boot by UEFI: 386, amd64",
    ],
    [
      "a small disk",
      { diskSize: GIB },
      "the root partition would have 0 B: expected at least 256 MiB",
    ],
    [
      "an ESP that no FAT32 fits in",
      { espSize: MIB },
      "the EFI-SYSTEM partition would have 1 MiB: expected at least 64 MiB",
    ],
    [
      "the same where sectors are larger",
      { espSize: 256 * MIB, sectorSize: 4096 },
      "the EFI-SYSTEM partition would have 256 MiB: expected at least 262 MiB",
    ],
    [
      "a root that its file system does not fit in",
      { diskSize: GIB + 300 * MIB, leastRoot: 300 * MIB },
      "the root partition would have 298 MiB: expected at least 300 MiB",
    ],
    [
      "a root larger than the disk",
      { rootSize: 10 * GIB },
      "the root partition was to have 10 GiB, but 9214 MiB are left on the disk",
    ],
  ])("%s", (_, more, message) => {
    expect(() => plan(more)).toThrow(message);
  });
});

test("the script counts in the disk's sectors", () => {
  const partitions = planPartitions(wishes);
  expect(sfdiskScript(partitions, ["A", "B"], 4096)).toBe(
    "label: gpt\nunit: sectors\nsector-size: 4096\n\n" +
      'start=256, size=262144, type=c12a7328-f81f-11d2-ba4b-00a0c93ec93b, uuid=A, name="EFI-SYSTEM"\n' +
      'start=262400, size=2358784, type=4f68bce3-e8cd-4db1-96e7-fbcaf984b709, uuid=B, name="root"\n',
  );
});
