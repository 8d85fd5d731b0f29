/** Deployments that boot unified kernel images. */
import { createHash } from "node:crypto";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, expect, test } from "vitest";
import { toHex } from "../../src/formats/digest.ts";
import { writeErofs } from "../../src/formats/erofs/writer.ts";
import { understand } from "../../src/model/deployments.ts";
import { collect } from "../../userspace/deployment/gc.ts";
import { observe } from "../../userspace/deployment/observe.ts";
import { planRepair, repair } from "../../userspace/deployment/repair.ts";
import { digestBytes } from "../../userspace/hash.ts";
import { linux } from "../../userspace/linux.ts";
import { type OsImage, TestMachine } from "./machine.ts";
import { bootTree, uki, withUki } from "./uki-image.ts";

beforeEach((ctx) => {
  if (linux.geteuid() !== 0) ctx.skip("not root: the owners in /etc cannot be made");
});

const MENU = "esp/loader/entries";
const UKIS = "esp/EFI/Linux/bootc";

/** A machine that runs such an image. */
async function sealed(os: OsImage): Promise<TestMachine> {
  const machine = new TestMachine();
  const first = await machine.stage(await withUki(machine, os), { counted: false });
  expect(machine.boot()).toBe(first);
  return machine;
}

test("it is where bootc has it, and its entry says nothing that is in it", async () => {
  using machine = await sealed({ version: "13" });
  const id = machine.running!;
  expect(machine.names(UKIS)).toEqual([`bootc_composefs-${id}.efi`]);
  const expected = uki({ version: "13" }, `rw quiet composefs=?${id}`);
  expect(readFileSync(join(machine.path, UKIS, `bootc_composefs-${id}.efi`))).toEqual(expected);
  expect(machine.read(`${MENU}/bootc_debian-13-0.conf`)).toBe(
    [
      "title Sealed 13",
      "version 13",
      `efi /EFI/Linux/bootc/bootc_composefs-${id}.efi`,
      "sort-key bootc-debian-0",
      "",
    ].join("\n"),
  );
  machine.with((_host, _repository, { booted }) => {
    expect(booted).toMatchObject({ id, damage: [], entry: { bootType: "uki", insecure: true } });
    expect(booted?.state?.origin?.bootType).toBe("uki");
    expect(booted?.state?.origin?.bootDigest).toMatch(/^[0-9a-f]{64}$/);
  });
});

test("updates bring their own, and what no deployment boots goes", async () => {
  using machine = await sealed({ version: "13" });
  const first = machine.running!;
  const ids = [first];
  for (const version of ["14", "15"]) {
    ids.push(await machine.stage(await withUki(machine, { version })));
    expect(machine.shutDown()).toMatchObject({ done: true });
    expect(machine.boot()).toBe(ids.at(-1));
  }
  machine.with((host, repository) => collect(host, repository));
  const [, second, third] = ids;
  expect(machine.names(UKIS)).toEqual(
    [second, third].map((id) => `bootc_composefs-${id}.efi`).sort(),
  );
  expect(machine.names(MENU)).toEqual(["bootc_debian-15-0+3.conf", "bootc_debian-15-1+3.conf"]);
});

test("one that boots another image is an error that tells both, and nothing is staged", async () => {
  using machine = await sealed({ version: "13" });
  const other = await withUki(machine, { version: "14" }, () => `composefs=${"ab".repeat(64)}`);
  await expect(machine.stage(other)).rejects.toThrow(
    `unified kernel image /boot/EFI/Linux/debian.efi has composefs=${"ab".repeat(64)} on its command line; the image is `,
  );
  expect(existsSync(join(machine.path, "run/staged-deployment"))).toBe(false);
  const none = await withUki(machine, { version: "14" }, () => "quiet");
  await expect(machine.stage(none)).rejects.toThrow("has no composefs= on its command line");
});

test("GRUB does not boot it: that is said before anything is written, or the other kernel is booted", async () => {
  using machine = new TestMachine("grub");
  const only: OsImage = { version: "13", unifiedOnly: true };
  await expect(machine.stage(await withUki(machine, only))).rejects.toThrow(
    "the image boots with the unified kernel image /boot/EFI/Linux/debian.efi, and ",
  );
  expect(machine.names("esp")).toEqual([]);
  const id = await machine.stage(await withUki(machine, { version: "14" }));
  expect(machine.names(`esp/bootc_composefs-${id}`)).toEqual(["initrd", "vmlinuz"]);
});

test("it may name the image in both formats, and no other; each profile has to boot it", async () => {
  using machine = await sealed({ version: "13" });
  const os: OsImage = { version: "14" };
  const tree = await bootTree(machine, os);
  const digest = (format: 1 | 2) => toHex(digestBytes("sha256", writeErofs(tree, { format })));
  const both = `composefs.digest=?v1-sha256-12:${digest(1)} composefs=?${digest(2)}`;
  const id = await machine.stage(await withUki(machine, os, () => both));
  expect(both).toContain(id);
  const more = `${both} composefs=${"ab".repeat(32)}`;
  await expect(
    machine.stage(await withUki(machine, { version: "15" }, () => more)),
  ).rejects.toThrow("on its command line; the image is ");
  const other = await withUki(machine, { version: "16" }, (one) => `composefs=?${one}`, [
    { name: ".profile", data: "ID=main\n" },
    { name: ".profile", data: "ID=rescue\n" },
    { name: ".cmdline", data: `composefs=${"cd".repeat(64)}` },
  ]);
  await expect(machine.stage(other)).rejects.toThrow(`has composefs=${"cd".repeat(64)} on its`);
});

test("one that requires fs-verity is not staged where there is none", async () => {
  using machine = new TestMachine();
  await machine.stage({ version: "13" }, { counted: false });
  machine.boot();
  const strict = await withUki(machine, { version: "14" }, (id) => `composefs=${id}`);
  await expect(machine.stage(strict, { force: false })).rejects.toThrow(
    "requires fs-verity, and the files of the repository have none",
  );
});

test("a machine goes from kernels to unified ones and back, and keeps what finds its root", async () => {
  using machine = new TestMachine();
  const first = await machine.stage({ version: "13" }, { counted: false });
  machine.boot();
  await machine.stage(await withUki(machine, { version: "14" }));
  machine.shutDown();
  expect(machine.boot()).not.toBe(first);
  const third = await machine.stage({ version: "15" });
  machine.shutDown();
  expect(machine.boot()).toBe(third);
  machine.with((_host, _repository, { deployments }) => {
    expect(deployments.map(({ entry }) => entry.bootType)).toEqual(["bls", "uki"]);
  });
});

test("one that the ESP has lost is written again, as the container image has it", async () => {
  using machine = await sealed({ version: "13" });
  const path = join(machine.path, UKIS, `bootc_composefs-${machine.running}.efi`);
  const before = readFileSync(path);
  rmSync(path);
  machine.with((host, repository) => {
    const sight = observe(host, repository);
    expect(understand(sight.seen).booted?.damage).toEqual([
      `its kernel ${machine.running} is not on the boot partition`,
    ]);
    repair(host, planRepair(host, repository, sight));
  });
  expect(createHash("sha256").update(readFileSync(path)).digest("hex")).toBe(
    createHash("sha256").update(before).digest("hex"),
  );
});
