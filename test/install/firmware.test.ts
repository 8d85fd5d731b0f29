/** The firmware is told about a boot loader, by an efibootmgr that writes down what it is asked. */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, expect, test } from "vitest";
import { hasFirmware, isFound, tellFirmware } from "../../userspace/install/firmware.ts";

const directory = mkdtempSync(join(tmpdir(), "cfsboot-firmware-"));
afterAll(() => rmSync(directory, { recursive: true }));

const [sys, bin, log] = ["sys", "bin", "log"].map((name) => join(directory, name)) as [
  string,
  string,
  string,
];
const partition = join(directory, "vda15");
const { PATH } = process.env;
afterEach(() => {
  process.env.PATH = PATH;
});

beforeEach(() => {
  for (const path of [sys, bin]) rmSync(path, { recursive: true, force: true });
  rmSync(log, { force: true });
  mkdirSync(join(sys, "devices/virtio1/block/vda/vda15"), { recursive: true });
  mkdirSync(join(sys, "class/block"), { recursive: true });
  writeFileSync(join(sys, "devices/virtio1/block/vda/vda15/partition"), "15\n");
  symlinkSync("../../devices/virtio1/block/vda/vda15", join(sys, "class/block/vda15"));
  mkdirSync(bin);
  writeFileSync(partition, "");
  process.env.PATH = `${bin}:${PATH}`;
  program("lsblk", "echo 0c1a0a3f-0000-4000-8000-000000000001");
  program("efibootmgr", `echo "$@" >> ${log}; [ "$1" != --verbose ] || cat ${bin}/entries`);
  writeFileSync(join(bin, "entries"), "BootOrder: 0000\nBoot0000* UiApp\tFvFile(462caa21)\n");
});

function program(name: string, script: string): void {
  writeFileSync(join(bin, name), `#!/bin/sh\n${script}\n`);
  chmodSync(join(bin, name), 0o755);
}

const OPTION = { partition, path: "systemd/systemd-bootx64.efi", label: "Linux Boot Manager" };

test("with the disk, the number of the partition, and the path as firmware writes it", () => {
  tellFirmware(OPTION, sys);
  expect(readFileSync(log, "utf8").split("\n")[1]).toBe(
    "--quiet --create --disk /dev/vda --part 15 --loader \\EFI\\systemd\\systemd-bootx64.efi --label Linux Boot Manager",
  );
});

test("once", () => {
  const entry =
    "Boot0003* Linux Boot Manager\tHD(15,GPT,0C1A0A3F-0000-4000-8000-000000000001,0x800,0x100000)/File(\\EFI\\systemd\\systemd-bootx64.efi)\n";
  writeFileSync(join(bin, "entries"), entry);
  tellFirmware(OPTION, sys);
  expect(readFileSync(log, "utf8")).toBe("--verbose\n");
});

test("not where the file system is on no partition", () => {
  rmSync(join(sys, "devices/virtio1/block/vda/vda15/partition"));
  expect(() => tellFirmware(OPTION, sys)).toThrow("vda15 is no partition of a disk");
});

test("only by a machine that was booted by UEFI", () => {
  expect(hasFirmware(sys)).toBe(false);
  mkdirSync(join(sys, "firmware/efi/efivars"), { recursive: true });
  expect(hasFirmware(sys)).toBe(true);
});

test("not of a file that is a disk for a while", (ctx) => {
  if (!existsSync("/dev/loop0")) ctx.skip("the kernel has no loop devices");
  const link = join(directory, "link");
  symlinkSync("/dev/loop0", link);
  expect([link, partition].map(isFound)).toEqual([false, true]);
});
