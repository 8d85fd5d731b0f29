/** Boot partitions that are mounted already: on a loop device, in a mount namespace, which only root may make. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { linux } from "../../userspace/linux.ts";

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
