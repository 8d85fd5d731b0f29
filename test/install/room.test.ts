/** Nothing is written to partitions that are too small for it. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { planDisk } from "../../userspace/install/disk-plan.ts";
import { requireDiskRoom, requireFits } from "../../userspace/install/room.ts";
import { spawn } from "../cli/on-machine.ts";
import { osLayer } from "../deployment/machine.ts";
import { image, writeLayout } from "../oci/fixtures/images.ts";

const MIB = 1 << 20;
const directory = mkdtempSync(join(tmpdir(), "cfsboot-room-"));
afterAll(() => rmSync(directory, { recursive: true }));

describe("a kernel that the EFI system partition", () => {
  const layout = join(directory, "layout");
  beforeAll(() => {
    mkdirSync(layout);
    // in its initramfs once more: 80 MiB
    const tar = osLayer({ version: "13", kernel: "k".repeat(40 * MIB) });
    writeLayout(layout, [{ image: image([{ tar, compression: "gzip" }]), tag: "os" }]);
  });

  const install = (espSize: string, ...args: string[]) => {
    const disk = join(directory, "disk.raw");
    const sizes = ["--size", "1G", "--esp-size", espSize, "--bootloader", "none"];
    const source = ["--source-imgref", `oci:${layout}:os`];
    return spawn("install", "to-disk", ...source, ...sizes, "--quiet", ...args, disk);
  };

  test("has no room for is refused, and nothing is left", () => {
    const { status, stderr } = install("70M", "--force");
    expect({ status, stderr }).toEqual({
      status: 1,
      stderr: expect.stringMatching(
        /not enough room on the EFI-SYSTEM partition of \S+: kernel and initramfs have 84 MB; 73 MB are free\nhint: --esp-size makes the partition larger\n$/,
      ),
    });
    expect(readdirSync(directory)).toEqual(["layout"]);
  });

  test("has room for only once is refused, as there will be updates, unless it is forced", () => {
    const { status, stderr } = install("120M");
    expect({ status, stderr }).toEqual({
      status: 1,
      stderr: expect.stringContaining("and an update needs room for others beside them"),
    });
    expect(install("120M", "--force")).toMatchObject({ status: 0 });
  });
});

test("an image that cannot fit is refused before the disk is divided", () => {
  const plan = planDisk({
    ...{ path: "/dev/vda", architecture: "amd64", fileSystem: "ext4", bootLoader: "systemd" },
    ...{ diskSize: 1024 * MIB, espSize: 100 * MIB, sectorSize: 512, kargs: [], opener: undefined },
    ...{ discoverable: true, rootMountSpec: undefined, sealedLater: false, insecure: false },
    growsLater: false,
  });
  expect(() => requireDiskRoom(plan, 800 * MIB)).not.toThrow();
  expect(() => requireDiskRoom(plan, 900 * MIB)).toThrow(
    "not enough room on the root partition of /dev/vda: the image has 944 MB, compressed; 909 MB are free",
  );
});

test("what does not fit into the root partition is said in words, not by mke2fs", () => {
  const root = join(directory, "root");
  mkdirSync(join(root, "sub"), { recursive: true });
  writeFileSync(join(root, "sub/file"), "");
  truncateSync(join(root, "sub/file"), 5 * MIB + 1);
  const room = { name: "the root partition of disk.raw", hint: "a larger one" };
  expect(() => requireFits(root, { ...room, size: 6 * MIB })).not.toThrow();
  expect(() => requireFits(root, { ...room, size: 5 * MIB })).toThrow(
    "not enough room on the root partition of disk.raw: the system has 5.3 MB; 5.2 MB are free",
  );
});
