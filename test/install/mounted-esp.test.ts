/** Which of what is mounted is the EFI system partition: the partition's type decides, not the place. */
import { describe, expect, test } from "vitest";
import { parseLsblk } from "../../src/formats/lsblk.ts";
import { parseMountInfo } from "../../src/formats/mountinfo.ts";
import { findEsp } from "../../userspace/install/mounted-esp.ts";

const ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
const XBOOTLDR = "bc13c2ff-59e6-4262-a352-b275fd6f7172";

/** What is mounted below the root: places, the types of their partitions, and the file systems, if not FAT. */
function machine(...places: readonly [place: string, type: string | null, fileSystem?: string][]) {
  const partitions = places.map(([place, parttype, type = "vfat"], index) => {
    const number = `8:${index + 1}`;
    const [mount] = parseMountInfo(
      Buffer.from(`30 1 ${number} / /target/${place} rw - ${type} /dev/sda${index + 1} rw\n`),
    );
    const device = { path: `/dev/sda${index + 1}`, type: "part", "maj:min": number, parttype };
    return { path: `/target/${place}`, mount: mount!, device: { ...device, mountpoints: [] } };
  });
  const disk = { path: "/dev/sda", type: "disk", "maj:min": "8:0", mountpoints: [] };
  const blockdevices = [{ ...disk, children: partitions.map(({ device }) => device) }];
  return {
    mounted: (path: string) => partitions.find((one) => one.path === path),
    list: () => parseLsblk(Buffer.from(JSON.stringify({ blockdevices }))),
  };
}

function find(
  { mounted, list }: ReturnType<typeof machine>,
  bootLoader: "systemd" | "grub" | "none" = "systemd",
) {
  return findEsp("/target", { esp: undefined, bootLoader }, mounted, list)?.path;
}

describe("an extended boot loader partition on /boot", () => {
  const alone = machine(["boot", XBOOTLDR]);

  test.each(["systemd", "grub"] as const)("is none, for %s", (bootLoader) => {
    expect(() => find(alone, bootLoader)).toThrow(
      "no EFI system partition is mounted below /target: /target/boot is an extended boot loader partition",
    );
  });

  test("is none by name either", () => {
    const { mounted, list } = machine(["..", XBOOTLDR]);
    const root = () => mounted("/target/..");
    expect(() => findEsp("/target", { esp: "/", bootLoader: "systemd" }, root, list)).toThrow(
      "/ is an extended boot loader partition: firmware starts no boot loader from it",
    );
    expect(findEsp("/target", { esp: "/", bootLoader: "none" }, root, list)).toBeDefined();
  });

  test("holds what a boot loader reads that is there already", () => {
    expect(find(alone, "none")).toBe("/target/boot");
  });

  test("stays that beside an ESP, wherever that is", () => {
    expect(find(machine(["boot", XBOOTLDR], ["efi", ESP]))).toBe("/target/efi");
    expect(find(machine(["efi", XBOOTLDR], ["boot", ESP]))).toBe("/target/boot");
    expect(find(machine(["efi", XBOOTLDR], ["boot", null]))).toBe("/target/boot");
  });
});

test("what has no type may be one; one that has is preferred; other file systems are none", () => {
  expect(find(machine(["boot/efi", null]))).toBe("/target/boot/efi");
  expect(find(machine(["efi", "0xc"], ["boot", "0xef"]))).toBe("/target/boot");
  expect(() => find(machine(["boot", ESP, "ext4"]))).toThrow(
    "no EFI system partition is mounted below /target",
  );
  expect(find(machine(), "none")).toBeUndefined();
});
