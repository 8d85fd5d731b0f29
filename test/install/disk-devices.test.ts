/** What a disk is, before it is divided, and its partitions afterwards. */
import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, type TestContext, test } from "vitest";
import type { Wanted } from "../../userspace/install/contents.ts";
import { installOnDisk } from "../../userspace/install/disk.ts";
import { examineDisk, requirePlace } from "../../userspace/install/disk-devices.ts";
import { planDisk } from "../../userspace/install/disk-plan.ts";
import { Interruption } from "../../userspace/install/interruption.ts";
import type { Unlocking } from "../../userspace/install/luks.ts";
import { findSignatures } from "../../userspace/install/signatures.ts";
import { linux } from "../../userspace/linux.ts";
import { spawn } from "../cli/on-machine.ts";
import { run } from "./disk-image.ts";

const MIB = 2 ** 20;
const directory = mkdtempSync(join(tmpdir(), "cfsboot-devices-"));
afterAll(() => rmSync(directory, { recursive: true }));

describe("by what the kernel says", () => {
  const sys = join(directory, "sys");
  const device = join(directory, "vda");
  const says = (facts: Readonly<Record<string, string>>) => {
    rmSync(sys, { recursive: true, force: true });
    writeFileSync(device, "");
    for (const [name, text] of Object.entries(facts)) {
      mkdirSync(join(sys, "vda", name, ".."), { recursive: true });
      writeFileSync(join(sys, "vda", name), `${text}\n`);
    }
  };
  const DISK = { size: "2048", "queue/logical_block_size": "4096", ext_range: "256" };

  test("a link to a disk is the disk, with its size in bytes", () => {
    says({ ...DISK, partscan: "1" });
    const link = join(directory, "by-id");
    symlinkSync("vda", link);
    expect(examineDisk(linux, link, sys)).toEqual({ path: device, size: MIB, sectorSize: 4096 });
  });

  test.each<[string, Readonly<Record<string, string>>, string]>([
    ["a partition", { partition: "1", size: "2048" }, "is a partition, not a disk"],
    ["a loop device without partitions", { ...DISK, partscan: "0" }, "cannot be divided"],
    ["the same of older kernels", { ...DISK, "loop/partscan": "0" }, "cannot be divided"],
    ["a volume", { ...DISK, ext_range: "1", "dm/uuid": "LVM-1" }, "cannot be divided"],
    ["a reader without a card", { ...DISK, size: "0" }, "has no size: there is no disk in it"],
  ])("%s is refused", (_, facts, message) => {
    says(facts);
    expect(() => examineDisk(linux, device, sys)).toThrow(message);
  });

  test("a partition that is still the old one is not taken for the new one", () => {
    says({ start: "2048", size: "4096" });
    const place = (start: number, size: number) => () =>
      requirePlace("/dev/vda", { start: start * MIB, size: size * MIB }, sys);
    expect(place(1, 2)).not.toThrow();
    expect(place(1, 3)).toThrow(
      "it begins at 1048576 and has 2097152 bytes, expected 3145728 from 1048576 on",
    );
    expect(place(2, 2)).toThrow("begins at 1048576");
  });
});

describe("a disk of this kernel", () => {
  const file = join(directory, "disk.raw");
  let loop: string | undefined;
  afterEach(() => {
    if (loop !== undefined) run("losetup", "--detach", loop);
    loop = undefined;
  });

  function attach(ctx: TestContext): string {
    if (linux.geteuid() !== 0) ctx.skip("not root: there are no loop devices");
    if (!existsSync("/dev/loop-control")) ctx.skip("the kernel has no loop devices");
    rmSync(file, { force: true });
    writeFileSync(file, "");
    truncateSync(file, 400 * MIB);
    loop = run("losetup", "--find", "--show", "--partscan", file).trim();
    return loop;
  }

  const planOf = (path: string) =>
    planDisk({
      ...{ path, architecture: "amd64", diskSize: 400 * MIB, espSize: 80 * MIB, sectorSize: 512 },
      ...{ fileSystem: "ext4", bootLoader: "none", kargs: [], opener: undefined },
      ...{ discoverable: true, rootMountSpec: undefined, sealedLater: false, growsLater: false },
      insecure: true,
    });

  test("that is mounted is refused, and nothing of it is gone", (ctx) => {
    const device = attach(ctx);
    run("mke2fs", "-q", "-t", "ext4", device);
    const target = join(directory, "mounted");
    mkdirSync(target);
    run("mount", device, target);
    try {
      const source = ["--source-imgref", "oci:nothing"];
      const { status, stderr } = spawn("install", "to-disk", ...source, "--wipe", device);
      expect({ status, stderr }).toEqual({
        status: 1,
        stderr: `cfsboot: error: ${device} is in use: ${device} is mounted on ${target}\nhint: nothing of it may be mounted (umount), swapped to (swapoff), or a part of something else\n`,
      });
    } finally {
      run("umount", target);
    }
    expect(findSignatures(device)).toEqual(["ext4"]);
  });

  test("one of whose partitions is mounted is, too", (ctx) => {
    const device = attach(ctx);
    const table = spawnSync("/usr/sbin/sfdisk", ["-q", device], { input: "label: dos\n,\n" });
    expect(table.status).toBe(0);
    expect(examineDisk(linux, device)).toEqual({ path: device, size: 400 * MIB, sectorSize: 512 });
    const partition = `${device}p1`;
    if (!existsSync(partition)) ctx.skip("the kernel knows no such partition tables");
    expect(() => examineDisk(linux, partition)).toThrow("is a partition, not a disk");
    run("mke2fs", "-q", "-t", "ext4", partition);
    const target = join(directory, "partition");
    mkdirSync(target);
    run("mount", partition, target);
    try {
      expect(() => examineDisk(linux, device)).toThrow(
        `${device} is in use: ${partition} is mounted on ${target}`,
      );
    } finally {
      run("umount", target);
    }
  });

  test("on which an installation fails is blank again", { timeout: 60_000 }, async (ctx) => {
    const device = attach(ctx);
    const whole = planOf(device);
    // it has come as far as its file systems when that is found out, or as far as kernels without GPT let it
    const plan = { ...whole, partitions: [whole.root] };
    const steps: string[] = [];
    const say = (step: string) => steps.push(step);
    using interruption = new Interruption();
    const wanted = interruption.stops({ transport: {} } as unknown as Wanted);
    await expect(installOnDisk(linux, plan, wanted, say, {} as Unlocking)).rejects.toThrow(
      /expected a root partition and an ESP|p1 does not appear/,
    );
    expect(steps[0]).toBe("divide the disk");
    expect(findSignatures(device)).toEqual([]);
    expect(existsSync(`${device}p1`)).toBe(false);
  });

  test("that is a file behind a loop device is not written to by another one", (ctx) => {
    const device = attach(ctx);
    const source = ["--source-imgref", "oci:nothing"];
    expect(spawn("install", "to-disk", ...source, "--via-loopback", file)).toMatchObject({
      status: 1,
      stderr: expect.stringContaining(`${file} is in use: it is ${device}\n`),
    });
  });
});

test("without loop devices for everybody", (ctx) => {
  if (spawnSync("setpriv", ["--version"]).error) ctx.skip("there is no setpriv");
  if (linux.geteuid() !== 0) ctx.skip("not root: nobody else can be played");
  const cfsboot = join(import.meta.dirname, "../../dist/cfsboot.mjs");
  const args = ["install", "to-disk", "--source-imgref", "oci:x", "--via-loopback", "/tmp/x.raw"];
  const who = ["--reuid=65534", "--regid=65534", "--clear-groups", process.execPath];
  const { stderr } = spawnSync("setpriv", [...who, cfsboot, ...args], { encoding: "utf8" });
  expect(stderr).toBe(
    "cfsboot: error: only root may make loop devices\nhint: without --via-loopback a file is made without them\n",
  );
});
