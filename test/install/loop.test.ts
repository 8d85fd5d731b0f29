/** A disk in a file, made by loop devices, of which none is left. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Wanted } from "../../userspace/install/contents.ts";
import { planDisk } from "../../userspace/install/disk-plan.ts";
import { Interruption } from "../../userspace/install/interruption.ts";
import { installByLoop } from "../../userspace/install/loop.ts";
import type { Unlocking } from "../../userspace/install/luks.ts";
import { findSignatures } from "../../userspace/install/signatures.ts";
import { linux } from "../../userspace/linux.ts";
import { spawn } from "../cli/on-machine.ts";
import { osLayer } from "../deployment/machine.ts";
import { image, writeLayout } from "../oci/fixtures/images.ts";

const MIB = 2 ** 20;
const directory = mkdtempSync(join(tmpdir(), "cfsboot-loop-"));
afterAll(() => rmSync(directory, { recursive: true }));
const layout = join(directory, "layout");
const disk = join(directory, "disk.raw");

beforeAll(() => {
  mkdirSync(layout);
  const tar = osLayer({ version: "13" });
  writeLayout(layout, [{ image: image([{ tar, compression: "none" }]), tag: "os" }]);
});

function run(name: string, ...args: string[]): string {
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
  const { status, stdout, stderr, error } = spawnSync(name, args, { encoding: "utf8", env });
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`${name}: ${status}: ${stdout}${stderr}`);
  return stdout;
}

test("each partition is a loop device of its own; without FAT nothing is made", (ctx) => {
  if (linux.geteuid() !== 0) ctx.skip("not root: there are no loop devices");
  if (!existsSync("/dev/loop-control")) ctx.skip("the kernel has no loop devices");
  const source = ["--source-imgref", `oci:${layout}:os`, "--bootloader", "none"];
  const sizes = ["--size", "400M", "--esp-size", "80M", "--allow-missing-verity"];
  const { status, stderr } = spawn(
    "install",
    "to-disk",
    ...source,
    ...sizes,
    "--via-loopback",
    disk,
  );
  expect(run("losetup", "--list", "--output", "BACK-FILE")).not.toContain(disk);
  if (!readFileSync("/proc/filesystems", "utf8").includes("\tvfat\n")) {
    expect({ status, stderr }).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/: this kernel cannot mount vfat: .*\nhint: modprobe vfat; /),
    });
    expect(existsSync(disk)).toBe(false);
    return;
  }
  expect({ status, stderr }).toMatchObject({ status: 0 });
  const { partitions } = JSON.parse(run("sfdisk", "--json", disk)).partitiontable as {
    partitions: { start: number; size: number; name: string }[];
  };
  expect(partitions.map(({ name }) => name)).toEqual(["EFI-SYSTEM", "root"]);
  const root = join(directory, "root");
  const { start, size } = partitions[1]!;
  run("dd", `if=${disk}`, `of=${root}`, "bs=512", `skip=${start}`, `count=${size}`, "status=none");
  run("e2fsck", "-fn", root);
  expect(run("debugfs", "-R", "ls -p /state/deploy", root)).toMatch(/\/[0-9a-f]{128}\//);
  expect(run("debugfs", "-R", "stat /state/grow-at-first-boot", root)).toContain("Type: regular");
});

test("one that fails leaves a file as it was: none, or a blank one", async (ctx) => {
  if (linux.geteuid() !== 0) ctx.skip("not root: there are no loop devices");
  if (!existsSync("/dev/loop-control")) ctx.skip("the kernel has no loop devices");
  const path = join(directory, "failed.raw");
  const whole = planDisk({
    ...{ path, architecture: "amd64", diskSize: 400 * MIB, espSize: 80 * MIB, sectorSize: 512 },
    ...{ fileSystem: "ext4", bootLoader: "none", kargs: [], opener: undefined },
    ...{ discoverable: true, rootMountSpec: undefined, sealedLater: false, growsLater: false },
    insecure: true,
  });
  // it has come as far as its file systems when that is found out
  const plan = { ...whole, partitions: [whole.root] };
  const steps: string[] = [];
  using interruption = new Interruption();
  const wanted = interruption.stops({ transport: {} } as unknown as Wanted);
  const install = (say = (step: string) => void steps.push(step)) =>
    installByLoop(linux, plan, wanted, say, {} as Unlocking);

  await expect(install()).rejects.toThrow("expected a root partition and an ESP");
  expect(steps).toEqual(["divide the file", "make file systems"]);
  expect(existsSync(path)).toBe(false);

  writeFileSync(path, "");
  await expect(install()).rejects.toThrow("expected a root partition and an ESP");
  expect(findSignatures(path)).toEqual([]);
  expect(run("losetup", "--list", "--output", "BACK-FILE")).not.toContain(path);

  // and so does one that somebody interrupts
  const interrupted = install((step) => {
    if (step === "make file systems") process.emit("SIGINT", "SIGINT");
  });
  await expect(interrupted).rejects.toThrow("interrupted by SIGINT");
  expect(findSignatures(path)).toEqual([]);
  expect(run("losetup", "--list", "--output", "BACK-FILE")).not.toContain(path);
});
