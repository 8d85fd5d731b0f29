/** Directories on FAT: on a loop device, in a mount namespace, which only root may make. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { linux } from "../../userspace/linux.ts";

const PROCESS = join(import.meta.dirname, "directory-room-process.ts");

test("a new directory has room for many kernels, and does not grow while it is needed", (ctx) => {
  if (linux.geteuid() !== 0) return ctx.skip("not root: nothing can be mounted");
  const directory = mkdtempSync(join(tmpdir(), "cfsboot-room-"));
  try {
    const image = join(directory, "image");
    writeFileSync(image, Buffer.alloc(40 << 20));
    const made = spawnSync("mkfs.vfat", ["-F", "32", "-s", "1", image]);
    if (made.status !== 0) return ctx.skip("there is no mkfs.vfat");
    mkdirSync(join(directory, "esp"));
    const script =
      'mount -t vfat -o loop "$1/image" "$1/esp" && mkdir "$1/esp/new" || exit 77; "$2" "$3" "$1/esp/new"';
    const { status, stdout, stderr } = spawnSync(
      "unshare",
      ["--mount", "sh", "-c", script, "sh", directory, process.execPath, PROCESS],
      { encoding: "utf8" },
    );
    if (status === 77) return ctx.skip(`no FAT can be mounted: ${stderr.split("\n")[0]}`);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(JSON.parse(stdout)).toEqual({ sizes: [512, 8192, 8192, 8192], left: 0 });
  } finally {
    rmSync(directory, { recursive: true });
  }
});
