/** What is mounted on the root, on /boot and on /var when a system is installed: in a mount namespace of its own, which only root may make. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { osLayer } from "../deployment/machine.ts";
import { image, writeLayout } from "../oci/fixtures/images.ts";

const CFSBOOT = join(import.meta.dirname, "../../dist/cfsboot.mjs");
const UUID = "01234567-89ab-4cde-8f01-23456789abcd";
const directory = mkdtempSync(join(tmpdir(), "cfsboot-boot-"));
afterAll(() => rmSync(directory, { recursive: true }));

beforeAll(() => {
  mkdirSync(join(directory, "layout"));
  mkdirSync(join(directory, "root"));
  const layer = { tar: osLayer({ version: "13" }), compression: "none" } as const;
  writeLayout(join(directory, "layout"), [{ image: image([layer]), tag: "os" }]);
});
beforeEach((ctx) => {
  if (spawnSync("unshare", ["--mount", "true"]).status !== 0) {
    ctx.skip("no mount namespace can be made here: that takes root");
  }
});

/** Plans an installation into a root on which `mounts` were done, with `$0` for the root. */
const plan = (mounts: string, ...args: string[]) => install(mounts, "--dry-run", ...args);

const install = (mounts: string, ...args: string[]) =>
  run("to-filesystem", mounts, "--root-mount-spec", "LABEL=x", ...args);

function run(how: string, mounts: string, ...args: string[]) {
  const root = join(directory, "root");
  const script = `mount -t tmpfs none "$0" && ${mounts} || exit 77\nexec "$@"`;
  const command = [process.execPath, CFSBOOT, "install", how, root];
  const verity = "--allow-missing-verity"; // tmpfs has none
  const options = ["--source-imgref", `oci:${directory}/layout:os`, verity];
  return spawnSync(
    "unshare",
    ["--mount", "sh", "-c", script, root, ...command, ...options, ...args],
    {
      encoding: "utf8",
      env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` },
    },
  );
}

test("a /boot that has nothing but the mounted ESP leaves the root empty (bootc#1907)", () => {
  const esp = join(directory, "root/boot/efi");
  const mounts = 'mkdir -p "$0/boot/efi" && mount -t tmpfs none "$0/boot/efi"';
  const { status, stdout, stderr } = plan(mounts, "--bootloader", "systemd", "--esp", esp);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  expect(stdout).toContain(`install systemd-boot on ${esp}\n`);
});

/** A /boot of its own, in a file. */
const disk = join(directory, "boot.raw");
const separateBoot = [
  `truncate -s 16M ${disk} && mke2fs -q -t ext4 -U ${UUID} ${disk}`,
  'mkdir "$0/boot" "$0/efi" && mount -t tmpfs none "$0/efi"',
  `mount -o loop ${disk} "$0/boot"`,
].join(" && ");

test("a /boot of its own is mounted in the system that is installed (bootc#2120, bootc#2121)", (ctx) => {
  const mounts = separateBoot;
  const esp = join(directory, "root/efi");
  const { status, stdout, stderr } = plan(mounts, "--bootloader", "grub", "--esp", esp);
  if (status === 77) ctx.skip(`nothing can be mounted by a loop device: ${stderr.split("\n")[0]}`);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  expect(stdout).toContain(` rw systemd.mount-extra=UUID=${UUID}:/boot:ext4:ro\n`);
});

const readBoot = (request: string) =>
  spawnSync("/usr/sbin/debugfs", ["-R", request, disk], { encoding: "utf8" }).stdout;

test("GRUB finds the kernels in a /boot of its own (57)", { timeout: 120_000 }, (ctx) => {
  if (spawnSync("grub-mkimage", ["--version"]).error) ctx.skip("there is no grub-mkimage");
  const esp = join(directory, "root/efi");
  const { status, stderr } = install(separateBoot, "--bootloader", "grub", "--esp", esp);
  if (status === 77) ctx.skip(`nothing can be mounted by a loop device: ${stderr.split("\n")[0]}`);
  expect({ status, stderr }).toMatchObject({ status: 0 });
  const [kernel] = /bootc_composefs-[0-9a-f]{128}/.exec(readBoot("ls -p /")) ?? [];
  expect(readBoot(`ls -p /${kernel}`)).toContain("/vmlinuz/");
  expect(readBoot("cat /loader/entries/cfsboot.cfg")).toContain(`  linux '/${kernel}/vmlinuz' `);
  expect(readBoot("cat /grub/grub.cfg")).toContain(`--set=root ${UUID}\n`);
});

test("another system's GRUB keeps its configuration, and ours is beside it", {
  timeout: 120_000,
}, (ctx) => {
  if (spawnSync("grub-mkimage", ["--version"]).error) ctx.skip("there is no grub-mkimage");
  const mounts = [
    separateBoot,
    'mkdir "$0/boot/grub" && echo "menuentry other" > "$0/boot/grub/grub.cfg"',
  ].join(" && ");
  const esp = ["--esp", join(directory, "root/efi"), "--replace", "alongside"];
  const { status, stderr } = install(mounts, "--bootloader", "grub", ...esp);
  if (status === 77) ctx.skip(`nothing can be mounted by a loop device: ${stderr.split("\n")[0]}`);
  expect({ status, stderr }).toMatchObject({ status: 0 });
  expect(readBoot("cat /grub/grub.cfg")).toBe("menuentry other\n");
  expect(readBoot("cat /grub/cfsboot.cfg")).toContain('/loader/entries/cfsboot.cfg"\n');
});

const NO_LOADER = ["--bootloader", "none"];

test("subvolumes of btrfs are named: root and /var may be two of one file system", (ctx) => {
  const disk = join(directory, "subvolumes.raw");
  const all = `mkdir "$0/all" && mount -o loop ${disk} "$0/all"`;
  const made = [
    `truncate -s 128M ${disk} && mkfs.btrfs -q -U ${UUID} ${disk} && ${all}`,
    'btrfs -q subvolume create "$0/all/os" && btrfs -q subvolume create "$0/all/my data"',
  ].join(" && ");
  const two = [
    'device=$(findmnt -no SOURCE "$0/all") && mount -o subvol=os "$device" "$0"',
    'mkdir -p "$0/var" && mount -o "subvol=my data" "$device" "$0/var"',
  ].join(" && ");
  const install = (mounts: string, ...args: string[]) =>
    run("to-filesystem", `${mounts} && ${two}`, "--dry-run", "--bootloader", ...args);
  const { status, stdout, stderr } = install(made, "none");
  if (status === 77) ctx.skip(`btrfs cannot be mounted here: ${stderr.split("\n")[0]}`);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  expect(stdout).toContain(
    `: root=UUID=${UUID} rootflags=subvol=os rw systemd.mount-extra=UUID=${UUID}:/var:btrfs:subvolid=257\n`,
  );
  expect(install(all, "grub", "--esp", "/proc")).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(
      /GRUB would not find what is mounted on \S+: it is \/os of a file system, not all\nhint: /,
    ),
  });
});

test("what is only a part of a file system is no /var that a system could find again", () => {
  const mounts = 'mkdir "$0/var" "$0/part" && mount --bind "$0/part" "$0/var" && rmdir "$0/part"';
  expect(plan(mounts, ...NO_LOADER)).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(
      /what is mounted on \S+\/var is \/part\S* of a file system, not all/,
    ),
  });
});

test("an ESP that somebody has forgotten to mount is not taken for one", () => {
  const esp = join(directory, "root/efi");
  const alongside = ["--replace", "alongside"];
  expect(plan('mkdir "$0/efi"', "--esp", esp, ...alongside)).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/root\/efi is not a mount point\nhint: mount the EFI system/),
  });
});

test("a file system that firmware does not know is said", () => {
  const { stdout } = plan(
    'mkdir "$0/efi" && mount -t tmpfs none "$0/efi"',
    ...["--esp", join(directory, "root/efi")],
  );
  expect(stdout).toMatch(/^note: \S+\/efi is tmpfs: firmware reads FAT only$/m);
});

test("an encrypted root needs an argument that opens it", (ctx) => {
  const [disk, bin] = [join(directory, "encrypted.raw"), join(directory, "bin")];
  mkdirSync(bin);
  // as it answers for a file system in an encrypted volume
  const lsblk = `#!/bin/sh\nprintf 'ext4        1234\\ncrypto_LUKS ${UUID}\\n            \\n'\n`;
  writeFileSync(join(bin, "lsblk"), lsblk, { mode: 0o755 });
  const mounts = [
    `truncate -s 16M ${disk} && mke2fs -q -t ext4 ${disk} && mount -o loop ${disk} "$0"`,
    `export PATH="${bin}:$PATH"`,
  ].join(" && ");
  const missing = `nothing tells the initramfs to open it: --karg rd.luks.uuid=${UUID}`;
  const { status, stdout, stderr } = plan(mounts, ...NO_LOADER);
  if (status === 77) ctx.skip(`nothing can be mounted by a loop device: ${stderr.split("\n")[0]}`);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  expect(stdout).toContain(`root is encrypted, and ${missing}\n`);
  const opened = plan(mounts, ...NO_LOADER, "--karg", `rd.luks.uuid=${UUID}`);
  expect(opened.stdout).not.toContain(missing);
});

describe("to-existing-root", () => {
  const cmdline = join(directory, "cmdline");
  const disk = join(directory, "existing.raw");
  const beside = (text: string) => {
    writeFileSync(cmdline, `${text}\n`);
    const mounts = [
      `truncate -s 16M ${disk} && mke2fs -q -t ext4 -U ${UUID} ${disk}`,
      `mount -o loop ${disk} "$0" && mount --bind ${cmdline} /proc/cmdline`,
    ].join(" && ");
    return run("to-existing-root", mounts, "--dry-run", ...NO_LOADER);
  };

  test("keeps what opens and finds the root of the system that runs, and nothing else", (ctx) => {
    const root = `rd.luks.name=1=root luks.options=discard root=UUID=${UUID.toUpperCase()} rootflags=noatime`;
    const { status, stdout, stderr } = beside(`BOOT_IMAGE=/vmlinuz ${root} ro quiet`);
    if (status === 77)
      ctx.skip(`nothing can be mounted by a loop device: ${stderr.split("\n")[0]}`);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout).toContain(`image's own: ${root} rw\n`);
  });

  test("is only for the root of the system that runs", (ctx) => {
    const { status, stderr } = beside("root=UUID=11111111-89ab-4cde-8f01-23456789abcd");
    if (status === 77)
      ctx.skip(`nothing can be mounted by a loop device: ${stderr.split("\n")[0]}`);
    expect({ status, stderr }).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(
        /root is not the root of the system that runs: .*\nhint: to-filesystem with --replace alongside/,
      ),
    });
  });
});
