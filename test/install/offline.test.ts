/** A disk in a file, made without a mount, as other people's tools see it. */
import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { release, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { spawn } from "../cli/on-machine.ts";
import { osLayer } from "../deployment/machine.ts";
import { image, tar as tarOf, writeLayout } from "../oci/fixtures/images.ts";
import { extract, type Partition, partitionsOf, run } from "./disk-image.ts";

const MIB = 2 ** 20;
const directory = mkdtempSync(join(tmpdir(), "cfsboot-install-"));
const layout = join(directory, "layout");
const disk = join(directory, "disk.raw");
afterAll(() => rmSync(directory, { recursive: true }));

const program = Buffer.alloc(100_000, "systemd-boot");

beforeAll(() => {
  mkdirSync(layout);
  const tar = osLayer({
    version: "13",
    kargs: ["console=ttyS0", "quiet"],
    etc: { "machine-id": `${"5".repeat(32)}\n` },
    files: [
      ...["usr/lib/systemd/", "usr/lib/systemd/boot/", "usr/lib/systemd/boot/efi/"].map((path) => ({
        path,
      })),
      { path: "usr/lib/systemd/boot/efi/systemd-bootx64.efi", data: program },
      { path: "root", type: "2", link: "var/roothome" },
      { path: "usr/lib/bootc/install/" },
      {
        path: "usr/lib/bootc/install/10.toml",
        data: '[install]\nkargs = ["configured"]\nkarg-deletes = ["asked", "console"]\nroot-fs-type = "xfs"\n',
      },
    ],
  });
  const data = tarOf([
    { path: "var/" },
    { path: "var/lib/", mode: 0o750 },
    { path: "var/lib/seed", data: "of the image\n", uid: 7, mode: 0o640 },
  ]);
  writeLayout(layout, [
    {
      image: image([
        { tar, compression: "none" },
        { tar: data, compression: "none" },
      ]),
      tag: "os",
    },
  ]);
});

const SOURCE = ["--source-imgref", `oci:${layout}:os`];
const install = (...args: string[]) =>
  spawn("install", "to-disk", ...SOURCE, "--target-imgref", "example.org/os:13", ...args);

test("nothing is made, and the plan is told, by --dry-run", () => {
  const { status, stdout, stderr } = install(
    "--dry-run",
    "--size",
    "1G",
    "--esp-size",
    "100M",
    "--karg",
    "nosmt",
    disk,
  );
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  expect(stdout).toMatch(/^make a partition table on .*disk.raw \(1 GiB\)$/m);
  expect(stdout).toMatch(/^ {2}EFI-SYSTEM +100 MiB {2}vfat$/m);
  expect(stdout).toMatch(/^ {2}root +922 MiB {2}ext4$/m);
  expect(stdout).toMatch(/^install systemd-boot$/m);
  expect(stdout).toMatch(/image's own: rw nosmt$/m);
  expect(stdout).toContain("fs-verity is turned on at the first boot");
  expect(readdirSync(directory)).toEqual(["layout"]);
});

test("a disk that is not there is no file in /dev", () => {
  for (const path of ["/dev/cfsboot-nowhere", "/dev/../dev/cfsboot-nowhere"]) {
    expect(install("--size", "1G", "--esp-size", "100M", path)).toEqual({
      status: 1,
      stdout: "",
      stderr: `cfsboot: error: ${path}: there is no such disk\nhint: lsblk lists those that there are\n`,
    });
    expect(existsSync("/dev/cfsboot-nowhere")).toBe(false);
  }
});

test("an empty name, as of a variable that is not set, is wrong usage", () => {
  expect(install("")).toMatchObject({ status: 2, stdout: "" });
});

const SIZES = ["--size", "1G", "--esp-size", "100M"];

test("the argument that chooses the image cannot be left out", () => {
  const { status, stderr } = install(...SIZES, "--karg-delete", "composefs", disk);
  expect({ status, stderr }).toMatchObject({
    status: 1,
    stderr: expect.stringContaining("the argument composefs cannot be left out"),
  });
  expect(readdirSync(directory)).toEqual(["layout"]);
});

describe("a disk", () => {
  let root = "";
  let esp = "";
  let parts: Partition[] = [];
  const list = (path: string) => run("mdir", "-b", "-i", esp, `::${path}`);

  beforeAll(() => {
    const keys = join(directory, "keys");
    writeFileSync(keys, "ssh-ed25519 AAAA root@example\n");
    const { status, stderr, stdout } = install(
      ...["--size", "1G", "--esp-size", "100M", "--karg", "nosmt", "--karg", "asked"],
      ...["--karg-delete", "quiet"],
      ...["--root-ssh-authorized-keys", keys, "--generic-image", disk],
    );
    expect(stderr).not.toContain("error");
    expect({ status, stderr }).toMatchObject({ status: 0 });
    expect(stderr).toContain("note: the image is configured for --filesystem xfs\n");
    expect(stdout).toMatch(/^Installed [0-9a-f]{12} on /m);
    rmSync(keys);
    parts = partitionsOf(disk);
    [esp, root] = [
      extract(disk, parts[0]!, directory, "esp"),
      extract(disk, parts[1]!, directory, "root"),
    ] as const;
  }, 240_000);

  const debugfs = (request: string) => run("debugfs", "-R", request, root);
  const deployment = () =>
    /^([0-9a-f]{128})$/m.exec(debugfs("ls -p /state/deploy").replaceAll("/", "\n"))?.[1];
  const entry = () =>
    run("mtype", "-i", esp, `::loader/entries/${list("loader/entries").trim().split("/").at(-1)}`);

  test("is sparse, and nothing but it is left", () => {
    expect(statSync(disk).size).toBe(1024 * MIB);
    expect(statSync(disk).blocks * 512).toBeLessThan(200 * MIB);
    expect(readdirSync(directory).sort()).toEqual(["disk.raw", "esp", "layout", "root"]);
  });

  test("has partitions by the Discoverable Partitions Specification", () => {
    expect(parts.map(({ name, type }) => [name, type])).toEqual([
      ["EFI-SYSTEM", "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"],
      ["root", "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"],
    ]);
    run("sfdisk", "--verify", disk);
  });

  test("has sound file systems, the root with fs-verity", () => {
    run("fsck.vfat", "-n", esp);
    run("e2fsck", "-fn", root);
    expect(run("dumpe2fs", "-h", root)).toMatch(/^Filesystem features: .*\bverity\b/m);
  });

  test("has systemd-boot where firmware looks, a menu, and no seed that others would share (bootc#1893, bootc#1993, bootc#2270)", () => {
    const copied = join(directory, "program");
    for (const path of ["EFI/BOOT/BOOTX64.EFI", "EFI/systemd/systemd-bootx64.efi"]) {
      run("mcopy", "-n", "-i", esp, `::${path}`, copied);
      expect(readFileSync(copied).equals(program)).toBe(true);
      rmSync(copied);
    }
    expect(run("mtype", "-i", esp, "::loader/loader.conf")).toBe("timeout 5\n");
    expect(list("loader")).not.toContain("random-seed");
  });

  test("has directories on the ESP that need not grow for further kernels and menus", () => {
    for (const path of ["EFI/Linux", "loader"]) {
      expect(list(path)).not.toContain("cfsboot-room");
      const clusters = [...run("mshowfat", "-i", esp, `::${path}`).matchAll(/<(\d+)(?:-(\d+))?/g)]
        .map(([, first, last = first]) => Number(last) - Number(first) + 1)
        .reduce((sum, count) => sum + count, 0);
      const [, size] = /^cluster size: (\d+) sectors$/m.exec(run("minfo", "-i", esp, "::")) ?? [];
      expect(clusters * Number(size) * 512).toBeGreaterThanOrEqual(8192);
    }
  });

  test("boots the deployment by the arguments that were asked for, with its kernel", () => {
    const id = deployment();
    const options = /^options (.*)$/m.exec(entry())?.[1];
    expect(options).toBe(`rw nosmt asked configured composefs=?${id}`);
    expect(run("mtype", "-i", esp, `::EFI/Linux/bootc_composefs-${id}/vmlinuz`)).toBe(
      "kernel 6.12",
    );
  });

  test("has the image's /var, owned as there (bootc#1877)", () => {
    expect(debugfs("cat /state/os/default/var/lib/seed")).toBe("of the image\n");
    expect(debugfs("stat /state/os/default/var/lib/seed")).toMatch(/Mode: +0640 .*User: +7 /s);
  });

  test("gives each machine an ID of its own, and root the keys (bootc#2535)", () => {
    const etc = `/state/deploy/${deployment()}/etc`;
    expect(debugfs(`cat ${etc}/machine-id`)).toBe("uninitialized\n");
    const keys = Buffer.from("ssh-ed25519 AAAA root@example\n").toString("base64");
    expect(debugfs(`cat ${etc}/tmpfiles.d/cfsboot-root-ssh.conf`)).toBe(
      `d /var/roothome/.ssh 0700 root root -\nf~ /var/roothome/.ssh/authorized_keys 0600 root root - ${keys}\n`,
    );
  });

  test("follows the image that was asked for", () => {
    const id = deployment();
    expect(debugfs(`cat /state/deploy/${id}/${id}.origin`)).toContain(
      "container-image-reference = ostree-unverified-image:docker://example.org/os:13\n",
    );
  });

  test("tells on its root what it was installed from (bootc#2541)", () => {
    const aleph = JSON.parse(debugfs("cat /.bootc-aleph.json"));
    expect(aleph).toEqual({
      digest: expect.stringMatching(/^sha256:[0-9a-f]{64}$/),
      kernel: release(),
      selinux: "disabled",
      "target-image": "example.org/os:13",
      timestamp: null,
      version: null,
    });
  });

  test("has a sound repository, and the note to seal it", () => {
    const copy = join(directory, "copy");
    mkdirSync(copy);
    debugfs(`rdump /composefs ${copy}`);
    const { status, stdout } = spawn("repo", "fsck", "--repo", join(copy, "composefs"));
    expect({ status, stdout }).toMatchObject({ status: 0 });
    rmSync(copy, { recursive: true });
    expect(debugfs("stat /state/seal-at-first-boot")).toContain("Type: regular");
  });

  test("is not overwritten without being told to", () => {
    const { status, stderr } = install(disk);
    expect({ status, stderr }).toEqual({
      status: 1,
      stderr: `cfsboot: error: ${disk} is not empty: it has gpt, PMBR\nhint: --wipe destroys all that is on it: a system that cfsboot installed, or what an installation that was cut off has left\n`,
    });
    expect(existsSync(disk)).toBe(true);
  });
});

test("with an extended boot loader partition: the menu is there, and what the image lacks for that is said", {
  timeout: 240_000,
}, () => {
  const other = join(directory, "xbootldr.raw");
  const { status, stderr } = install(
    ...["--size", "1G", "--esp-size", "64M", "--xbootldr", "64M", other],
  );
  expect({ status, stderr }).toMatchObject({ status: 0 });
  expect(stderr).toContain("note: the image has no directory /efi");
  const names = partitionsOf(other).map((one, index) => {
    const file = extract(other, one, directory, `part-${index}`);
    return index === 2 ? "" : run("mdir", "-b", "-/", "-i", file, "::");
  });
  expect(names[0]).not.toMatch(/entries\/./);
  expect(names[0]).toMatch(/EFI\/systemd\/systemd-bootx64\.efi$/m);
  expect(names[1]).toMatch(/loader\/entries\/bootc_\S+\.conf$/m);
});

test("with GRUB: it is where firmware looks, and finds the menu in /boot of the root", {
  timeout: 180_000,
}, (ctx) => {
  if (spawnSync("grub-mkimage", ["--version"]).error !== undefined) {
    ctx.skip("there is no grub-mkimage");
  }
  const file = join(directory, "grub.raw");
  const { status, stderr } = install(
    ...["--size", "1G", "--esp-size", "100M", "--bootloader", "grub", file],
  );
  expect({ status, stderr }).toMatchObject({ status: 0 });
  const parts = partitionsOf(file);
  expect(parts.map(({ name }) => name)).toEqual(["BIOS-BOOT", "EFI-SYSTEM", "root"]);
  const [esp, root] = [
    extract(file, parts[1]!, directory, "esp2"),
    extract(file, parts[2]!, directory, "root2"),
  ];
  rmSync(file);
  const uuid = /^Filesystem UUID:\s+(\S+)$/m.exec(run("dumpe2fs", "-h", root))?.[1];
  run("mcopy", "-n", "-i", esp, "::EFI/BOOT/BOOTX64.EFI", join(directory, "program"));
  const copied = readFileSync(join(directory, "program"));
  expect(copied.includes(`search --no-floppy --fs-uuid --set=root ${uuid}\n`)).toBe(true);
  const read = (path: string) => run("debugfs", "-R", `cat ${path}`, root);
  expect(read("/boot/grub/grub.cfg")).toContain(`--set=root ${uuid}\n`);
  expect(read("/boot/grub/grubenv")).toHaveLength(1024);
  expect(read("/boot/loader/entries/cfsboot.cfg")).toMatch(
    /^ {2}linux '\/boot\/bootc_composefs-[0-9a-f]{128}\/vmlinuz' 'root=UUID=/m,
  );
});
