/** Boot partitions that are mounted already: on a loop device, in a mount namespace, which only root may make. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { AT_FDCWD, O_CLOEXEC, O_DIRECTORY, O_RDONLY } from "../../src/linux/constants.ts";
import { ENTRIES, espPlace } from "../../userspace/bootloader/boot-place.ts";
import { inUse } from "../../userspace/bootloader/open-place.ts";
import { linux } from "../../userspace/linux.ts";
import { type TemporaryPlace, temporaryEsp } from "./place.ts";

const PROCESS = join(import.meta.dirname, "open-place-process.ts");

const MOUNTED = `
mount -o loop "$1/image" "$1/boot" && mount -o remount,ro,nosuid,noexec "$1/boot" || exit 77
device=$(findmnt --noheadings --output SOURCE --mountpoint "$1/boot")
"$2" "$3" "$device" "$1/boot" && cat "$1/boot/written"
`;

test("a partition that is mounted read-only is written to all the same, and stays so for others (bootc#2355)", (ctx) => {
  if (linux.geteuid() !== 0) return ctx.skip("not root: nothing can be mounted");
  const directory = mkdtempSync(join(tmpdir(), "cfsboot-mounted-"));
  try {
    mkdirSync(join(directory, "boot"));
    const made = spawnSync("mkfs.ext4", ["-q", join(directory, "image"), "16M"]);
    if (made.status !== 0) return ctx.skip("there is no mkfs.ext4");
    const { status, stdout, stderr } = spawnSync(
      "unshare",
      ["--mount", "sh", "-c", MOUNTED, "sh", directory, process.execPath, PROCESS],
      { encoding: "utf8" },
    );
    if (status === 77) return ctx.skip(`no loop device can be mounted: ${stderr.split("\n")[0]}`);
    expect({ status, stderr, stdout: stdout.trim().split(/\s+/) }).toEqual({
      status: 0,
      stderr: "",
      stdout: ["ro,nosuid,noexec,relatime", "x"],
    });
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test("where bootc's menu is on the ESP, it stays there, though there is an extended boot loader partition", () => {
  using xbootldr = temporaryEsp();
  using esp = temporaryEsp();
  const id = "ab".repeat(64);
  const entry = `version 1\nlinux /EFI/Linux/bootc_composefs-${id}/vmlinuz\noptions composefs=${id}\n`;
  const foreign = "title Other\nlinux /vmlinuz\n";
  xbootldr.write(`${ENTRIES}/other.conf`, foreign);
  const again = (place: TemporaryPlace) => {
    const flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
    return espPlace(linux.openat(AT_FDCWD, place.path, flags), place.path);
  };
  const choose = () => inUse(linux, [again(xbootldr)], () => [again(esp)])[0];
  expect(choose()?.path).toBe(xbootldr.path);
  esp.write(`${ENTRIES}/bootc_x-1-1.conf`, entry);
  expect(choose()?.path).toBe(esp.path);
  xbootldr.write(`${ENTRIES}/bootc_x-1-1.conf`, entry);
  expect(choose()?.path).toBe(xbootldr.path);
});
