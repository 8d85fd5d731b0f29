import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  compareGrub,
  compareSystemdBoot,
  type MenuPosition,
} from "../../src/model/boot-menu-order.ts";

/** The order of a menu, by the names of its files, found from an order that it is not. */
function menu(compare: typeof compareGrub, ...entries: MenuPosition[]): string[] {
  return [...entries]
    .reverse()
    .sort(compare)
    .map((entry) => entry.fileName);
}

const names = (...entries: MenuPosition[]) => entries.map((entry) => entry.fileName);

describe("systemd-boot", () => {
  const expectOrder = (...entries: MenuPosition[]) =>
    expect(menu(compareSystemdBoot, ...entries)).toEqual(names(...entries));

  test("the primary entry comes first, whatever the versions", () => {
    expectOrder(
      { fileName: "bootc_a-1-1.conf", sortKey: "bootc-a-0", version: "1" },
      { fileName: "bootc_a-2-0.conf", sortKey: "bootc-a-1", version: "2" },
    );
  });

  test("sort keys of several families are compared as texts", () => {
    expectOrder(
      { fileName: "1.conf", sortKey: "bootc-bootc-0", version: "1" },
      { fileName: "2.conf", sortKey: "bootc-bootc-1", version: "9" },
      { fileName: "3.conf", sortKey: "bootc-debian-0", version: "9" },
    );
    expectOrder({ fileName: "1.conf", sortKey: "A" }, { fileName: "2.conf", sortKey: "a" });
  });

  test("with a sort key before without; there only the name counts", () => {
    expectOrder(
      { fileName: "a.conf", sortKey: "z", version: "1" },
      { fileName: "b-10.conf", version: "1", machineId: "b" },
      { fileName: "b-9.conf", version: "2", machineId: "a" },
      { fileName: "a-11.conf", sortKey: "" },
    );
  });

  test("machine id, then version, then name", () => {
    const sortKey = "fedora";
    expectOrder(
      { fileName: "a.conf", sortKey, version: "1" },
      { fileName: "z.conf", sortKey, machineId: "1", version: "6.10" },
      { fileName: "x.conf", sortKey, machineId: "1", version: "6.9" },
      { fileName: "w.conf", sortKey, machineId: "1", version: "6.9" },
      { fileName: "0.conf", sortKey, machineId: "1", version: "6.9~rc1" },
      { fileName: "1.conf", sortKey, machineId: "2", version: "7" },
    );
  });

  test("entries without attempts left come last, others are counted without a difference", () => {
    expectOrder(
      { fileName: "c+1-2.conf", sortKey: "bootc-a-0" },
      { fileName: "b.conf", sortKey: "bootc-a-1" },
      { fileName: "other.conf" },
      { fileName: "a+0-3.conf", sortKey: "bootc-a-0" },
    );
  });

  test("the same entry with several counters", () => {
    expectOrder(
      { fileName: "a.conf" },
      { fileName: "a+3.conf" },
      { fileName: "A+2-0.conf" },
      { fileName: "a+2-1.conf" },
      { fileName: "a+0-1.conf" },
      { fileName: "a+0-3.conf" },
    );
  });
});

describe("GRUB", () => {
  const expectOrder = (...fileNames: string[]) =>
    expect(
      menu(
        compareGrub,
        // what it does not look at says the opposite
        ...fileNames.map((fileName, i) => ({
          fileName,
          sortKey: `${9 - i}`,
          version: `${i}`,
        })),
      ),
    ).toEqual(fileNames);

  test("the primary entry of a version comes first", () => {
    expectOrder("bootc_a-41.2025-1.conf", "bootc_a-41.2025-0.conf");
  });

  test("names before versions before priorities", () => {
    expectOrder(
      "fwupd.conf",
      "bootc_debian-9-1.conf",
      "bootc_bootc-42-0.conf",
      "bootc_bootc-41-1.conf",
      "bootc_bootc-9-1.conf",
    );
  });

  test("numbers are numbers, unlike in a comparison of texts", () => {
    expectOrder("bootc_a-10-1.conf", "bootc_a-9-1.conf");
  });

  test("some differences do not show", () => {
    expect(compareGrub({ fileName: "a-1.0-1.conf" }, { fileName: "a-1_0-1.conf" })).toBe(0);
  });
});

test.each([compareSystemdBoot, compareGrub])("%o is an order", (compare) => {
  const text = fc.constantFrom(undefined, "", "a-0", "a-1", "2", "10");
  const entry = fc.record({
    fileName: fc
      .string({ unit: fc.constantFrom("a", "-", "1", "9", "+0", "+1-2"), maxLength: 6 })
      .map((stem) => `${stem}.conf`),
    sortKey: text,
    machineId: text,
    version: text,
  });
  fc.assert(
    fc.property(entry, entry, entry, (a, b, c) => {
      expect(compare(a, a)).toBe(0);
      expect(Math.sign(compare(a, b)) + Math.sign(compare(b, a))).toBe(0);
      const [x, y, z] = [a, b, c].sort(compare) as [MenuPosition, MenuPosition, MenuPosition];
      expect(compare(x, y)).toBeLessThanOrEqual(0);
      expect(compare(y, z)).toBeLessThanOrEqual(0);
      expect(compare(x, z)).toBeLessThanOrEqual(0);
    }),
  );
});
