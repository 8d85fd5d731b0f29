/** What is mounted on /boot and below when a system is installed: in a mount namespace of its own, which only root may make. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
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
function plan(mounts: string, ...args: string[]) {
  const root = join(directory, "root");
  const script = `mount -t tmpfs none "$0" && ${mounts} || exit 77\nexec "$@"`;
  const command = [process.execPath, CFSBOOT, "install", "to-filesystem", root, "--dry-run"];
  const verity = "--allow-missing-verity"; // tmpfs has none
  const options = [
    "--source-imgref",
    `oci:${directory}/layout:os`,
    "--root-mount-spec",
    "LABEL=x",
    verity,
  ];
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

test("a /boot of its own is mounted in the system that is installed (bootc#2120, bootc#2121)", (ctx) => {
  const disk = join(directory, "boot.raw");
  const mounts = [
    `truncate -s 16M ${disk} && mke2fs -q -t ext4 -U ${UUID} ${disk}`,
    'mkdir "$0/boot" "$0/efi" && mount -t tmpfs none "$0/efi"',
    `mount -o loop ${disk} "$0/boot"`,
  ].join(" && ");
  const esp = join(directory, "root/efi");
  const { status, stdout, stderr } = plan(mounts, "--bootloader", "grub", "--esp", esp);
  if (status === 77) ctx.skip(`nothing can be mounted by a loop device: ${stderr.split("\n")[0]}`);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  expect(stdout).toContain(` rw systemd.mount-extra=UUID=${UUID}:/boot:ext4:ro\n`);
});
