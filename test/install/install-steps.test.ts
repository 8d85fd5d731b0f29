/** What people are told before an installation: made of the steps that scripts get. */
import { expect, test } from "vitest";
import { installText } from "../../src/model/install-steps.ts";
import { type DiskWishes, planDisk } from "../../userspace/install/disk-plan.ts";
import { diskSteps, mountedSteps } from "../../userspace/install/install-steps.ts";
import type { MountedPlan } from "../../userspace/install/mounted-plan.ts";

const MIB = 2 ** 20;
const MADE = { id: null, follows: "docker://example.org/os", firmware: false };
const FIRMWARE = { ...MADE, firmware: true };

const disk = (more: Partial<DiskWishes> = {}) =>
  planDisk({
    ...{ path: "/dev/vda", diskSize: 4096 * MIB, sectorSize: 512, espSize: 512 * MIB },
    ...{ architecture: "amd64", fileSystem: "ext4", bootLoader: "systemd", kargs: ["nosmt"] },
    ...{ opener: undefined, discoverable: true, rootMountSpec: undefined },
    ...{ sealedLater: false, growsLater: false, insecure: false, ...more },
  });

test("a disk", () => {
  expect(installText(diskSteps(disk(), FIRMWARE))).toEqual([
    "make a partition table on /dev/vda (4 GiB)",
    "  EFI-SYSTEM    512 MiB  vfat",
    "  root         3582 MiB  ext4",
    "kernel arguments besides the image's own: rw nosmt",
    "install systemd-boot",
    "tell the firmware to start that boot loader first (efibootmgr)",
  ]);
});

test("a file that becomes one for larger disks, without a boot loader", () => {
  const plan = disk({ path: "disk", bootLoader: "none", sealedLater: true, growsLater: true });
  expect(installText(diskSteps(plan, MADE)).slice(3)).toEqual([
    "the root takes what a larger disk has at the first boot, by cfsboot-grow.service",
    "kernel arguments besides the image's own: rw nosmt",
    "fs-verity is turned on at the first boot, by cfsboot-seal.service",
    "install no boot loader",
  ]);
});

test("GRUB, with a partition that it does not use, and without fs-verity", () => {
  const plan = disk({ bootLoader: "grub", xbootldrSize: 64 * MIB, fileSystem: "xfs" });
  expect(installText(diskSteps(plan, MADE))).toEqual([
    "make a partition table on /dev/vda (4 GiB)",
    "  BIOS-BOOT       1 MiB  no file system",
    "  EFI-SYSTEM    512 MiB  vfat",
    "  XBOOTLDR       64 MiB  vfat",
    "  root         3517 MiB  xfs",
    "kernel arguments besides the image's own: rw nosmt",
    "without fs-verity: the kernel does not check what it reads",
    "install GRUB",
  ]);
  expect(plan.remarks).toEqual([
    "GRUB does not use that extended boot loader partition: its kernels are in /boot of the root",
  ]);
});

test.each([
  ["passphrase", "a passphrase opens it at each boot"],
  ["tpm2", "this machine's TPM opens it, as long as its PCR 7 stays (Secure Boot's keys)"],
] as const)("an encrypted root: %s", (opener, how) => {
  const [, , root, encrypt] = installText(diskSteps(disk({ opener }), MADE));
  expect([root, encrypt]).toEqual([
    "  root         3582 MiB  ext4, encrypted",
    `encrypt the root (LUKS2): ${how}`,
  ]);
});

test("what is mounted", () => {
  const plan: MountedPlan = {
    ...{ root: "/mnt", rootFileSystem: "ext4", kargs: ["root=UUID=1", "rw"], insecure: false },
    ...{ esp: "/mnt/efi", espDevice: "/dev/vda1", separateVar: "/mnt/var", boot: "/mnt/efi" },
    ...{ bootLoader: "systemd", grub: { uuid: "", separateBoot: false }, remarks: [] },
    resumed: true,
  };
  expect(installText(mountedSteps(plan, FIRMWARE))).toEqual([
    "install into /mnt; nothing in it is removed",
    "go on with what an installation that was not finished has left there",
    "/var is what is mounted on /mnt/var",
    "kernel arguments besides the image's own: root=UUID=1 rw",
    "install systemd-boot on /mnt/efi",
    "tell the firmware to start that boot loader first (efibootmgr)",
  ]);
  const bare: MountedPlan = { ...plan, resumed: false, separateVar: undefined, insecure: true };
  const none: MountedPlan = { ...bare, bootLoader: "none", esp: undefined, boot: undefined };
  expect(installText(mountedSteps(none, MADE))).toEqual([
    "install into /mnt; nothing in it is removed",
    "kernel arguments besides the image's own: root=UUID=1 rw",
    "without fs-verity: the kernel does not check what it reads",
    "install no boot loader",
  ]);
});
