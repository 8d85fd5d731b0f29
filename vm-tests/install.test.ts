/** Installations on a machine's other disks, from a running system, with every kind of root; and what was installed boots. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, type TestContext, test } from "vitest";
import { CACHE } from "./harness/cache.ts";
import { machineDisk } from "./harness/install.ts";
import { expectDone, expectRefused, needRoot, needTime } from "./harness/life.ts";
import { answer } from "./harness/observations.ts";
import { type Booted, boot, newVariables } from "./harness/qemu.ts";
import { smallImageDisk } from "./harness/small-image.ts";
import { STORAGE } from "./harness/systems.ts";

const GIB = 2 ** 30;
const SUITE = "trixie";
const PASSPHRASE = "open, Sesame";

/** Where the machine that installs sees the image, and the disk that it installs to. */
const [IMAGE, TARGET] = ["/dev/vdb", "/dev/vdc"];

/** The machine that installs and the image, as disks. */
async function prepared(context: TestContext) {
  needRoot(context);
  needTime(context);
  const { disk } = await machineDisk({
    loader: "systemd",
    options: ["--size", "4G"],
    extra: STORAGE,
  });
  const { disk: image, tag } = await smallImageDisk(SUITE, STORAGE);
  return { disk, image, tag };
}

/** Installs by these commands, and boots what was installed. */
async function installAndBoot(
  context: TestContext,
  name: string,
  install: (command: string) => Readonly<Record<string, string>>,
  { tpm = false, credentials = {} }: { tpm?: boolean; credentials?: Record<string, string> } = {},
): Promise<{ installed: Booted; booted: Booted }> {
  const { disk, image, tag } = await prepared(context);
  mkdirSync(CACHE, { recursive: true });
  const work = mkdtempSync(join(CACHE, "test-"));
  try {
    const path = (file: string) => join(work, file);
    const [target, variables] = [path("target"), path("variables")];
    newVariables(variables);
    // each machine has its own, also of what it only reads: they run at the same time
    execFileSync("cp", ["--sparse=always", disk, path("disk")]);
    execFileSync("cp", ["--sparse=always", image, path("image")]);
    writeFileSync(target, "");
    truncateSync(target, 3 * GIB);
    const source = `--source-imgref oci:/run/image:${tag} --target-imgref registry.example/os:stable`;
    const kargs = ["console=ttyS0", "panic=1", "systemd.firstboot=off"].map(
      (karg) => `--karg ${karg}`,
    );
    const hardware = {
      ...({ variables, persistent: true, cpus: 2, powerOff: "clean", target: "basic" } as const),
      ...(tpm && { tpm: path("tpm") }),
    };
    const installed = await boot({
      ...hardware,
      name: `installs-${name}`,
      disk: path("disk"),
      moreDisks: [path("image"), target],
      checks: {
        image: `mkdir -p /run/image && mount -o ro ${IMAGE} /run/image`,
        ...install(`cfsboot install to-disk ${source} --esp-size 128M ${kargs.join(" ")}`),
      },
    });
    expectDone(installed, "image", "install");
    const booted = await boot({
      ...{ ...hardware, name: `installed-${name}`, disk: target, credentials },
      checks: LOOK,
    });
    return { installed, booted };
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

const LOOK = {
  sysroot: "findmnt --noheadings --output SOURCE,FSTYPE /sysroot",
  root: "findmnt --noheadings --output OPTIONS /",
  cmdline: "cat /proc/cmdline",
  firmware: "efibootmgr --verbose",
  devices: "lsblk --noheadings --list --paths --output NAME,TYPE,FSTYPE",
};

/** The partitions: name and size in MiB. */
function partitions(booted: Booted): [string, number][] {
  const { partitiontable } = JSON.parse(answer(booted, "table")) as {
    partitiontable: { sectorsize: number; partitions: { name: string; size: number }[] };
  };
  const { sectorsize } = partitiontable;
  return partitiontable.partitions.map(({ name, size }) => [name, (size * sectorsize) / 2 ** 20]);
}

/** What firmware starts first, as efibootmgr(8) shows it. */
function firstOption(booted: Booted): string {
  const shown = answer(booted, "firmware");
  const number = /^BootOrder: (\w+)/m.exec(shown)?.[1];
  return shown.split("\n").find((line) => line.startsWith(`Boot${number}`)) ?? shown;
}

/** A layer that ends early: what fails after the disk was divided. */
const damaged = (command: string) =>
  [
    "cd /run/image/blobs/sha256 && largest=$(ls -S | head -n1)",
    ": > /run/empty && mount --bind /run/empty $largest",
    `{ ${command}; status=$?; umount $largest; exit $status; }`,
  ].join(" && ");

test("ext4 that a passphrase opens, and an extended boot loader partition; what was there needs --wipe, and what failed leaves nothing", async (context) => {
  const { installed, booted } = await installAndBoot(
    context,
    "ext4-luks",
    (command) => {
      const install = `printf '%s\\n' '${PASSPHRASE}' | ${command} --encrypt passphrase --passphrase-file - --xbootldr 200M`;
      const into = command
        .replace("to-disk", "to-filesystem --dry-run --bootloader none")
        .replace(/ --esp-size \S+/, "");
      return {
        failed: damaged(`${command} ${TARGET}`),
        blank: `wipefs ${TARGET}`,
        able: `mke2fs -q -F -t ext4 -O verity ${TARGET} && mount ${TARGET} /mnt && ${into} /mnt`,
        unable: `umount /mnt && mke2fs -q -F -t ext4 -O ^verity ${TARGET} && mount ${TARGET} /mnt && ${into} /mnt`,
        other: `umount /mnt && mke2fs -q -F -L precious ${TARGET}`,
        refused: `${install} ${TARGET}`,
        there: `blkid -o value -s LABEL ${TARGET}`,
        install: `${install} --wipe ${TARGET}`,
        table: `sfdisk --json ${TARGET}`,
        types: `blkid -o value -s TYPE ${TARGET}?`,
        kernels: `mount ${TARGET}2 /mnt && ls /mnt/EFI/Linux /mnt/loader/entries; umount /mnt`,
        closed: "ls /dev/mapper",
      };
    },
    { credentials: { "cryptsetup.passphrase": PASSPHRASE } },
  );
  expectRefused(installed, "failed", /divide the disk\n[\s\S]*ends after 0 of \d+ bytes/);
  expectDone(installed, "able", "other");
  expect(answer(installed, "blank")).toBe("");
  expect(answer(installed, "able")).toMatch(/^install into \/mnt;/m);
  expectRefused(installed, "unable", /\/mnt: .* has no fs-verity\nhint: tune2fs -O verity/);
  expectRefused(installed, "refused", /\/dev\/vdc is not empty: it has ext2\nhint: --wipe/);
  expect(answer(installed, "there")).toBe("precious");
  expect(partitions(installed)).toEqual([
    ["EFI-SYSTEM", 128],
    ["XBOOTLDR", 200],
    ["root", 3072 - 2 - 328],
  ]);
  expect(answer(installed, "types")).toBe("vfat\nvfat\ncrypto_LUKS");
  expect(answer(installed, "kernels")).toMatch(/bootc_composefs-[0-9a-f]{128}\n[\s\S]*\.conf/);
  expect(answer(installed, "closed")).toBe("control");

  expect(answer(booted, "sysroot")).toMatch(/^\/dev\/mapper\/root\S* +ext4$/);
  expect(answer(booted, "root")).toContain("verity=require");
  expect(answer(booted, "cmdline")).toMatch(
    / rd\.luks\.name=[0-9a-f-]{36}=root root=\/dev\/mapper\/root rw /,
  );
});

test("xfs that the machine's TPM opens; the recovery key is told", async (context) => {
  const { installed, booted } = await installAndBoot(
    context,
    "xfs-tpm",
    (command) => ({
      tpm: "ls /dev/tpmrm0",
      install: `${command} --filesystem xfs --block-setup tpm2-luks ${TARGET}`,
      keys: `systemd-cryptenroll ${TARGET}2`,
      firmware: "efibootmgr --verbose",
      esp: `blkid -o value -s PARTUUID ${TARGET}1`,
    }),
    { tpm: true },
  );
  expectDone(installed, "tpm");
  expect(answer(installed, "install")).toMatch(/^Recovery key, .*: (?:[a-z]{8}-){7}[a-z]{8}$/m);
  expect(answer(installed, "install")).toMatch("without fs-verity");
  expect(answer(installed, "keys")).toMatch(/^SLOT TYPE\s+1 recovery\s+2 tpm2$/);

  expect(answer(booted, "sysroot")).toMatch(/^\/dev\/mapper\/root\S* +xfs$/);
  expect(answer(booted, "cmdline")).toContain("=tpm2-device=auto ");

  const first = firstOption(installed);
  expect(first.toLowerCase()).toContain(`gpt,${answer(installed, "esp")}`);
  expect(first).toMatch(/ Linux Boot Manager\b.*\\EFI\\systemd\\systemd-bootx64\.efi/i);
  expect(firstOption(booted)).toBe(first);
  expect(answer(booted, "firmware")).toContain(`BootCurrent: ${first.slice(4, 8)}`);
});

test("a file that was copied to a larger disk: the root takes all of it at the first boot", async (context) => {
  const { disk } = await prepared(context);
  mkdirSync(CACHE, { recursive: true });
  const work = mkdtempSync(join(CACHE, "test-"));
  try {
    const [larger, variables] = [join(work, "disk"), join(work, "variables")];
    execFileSync("cp", ["--sparse=always", disk, larger]);
    truncateSync(larger, 5 * GIB);
    newVariables(variables);
    const booted = await boot({
      ...{ name: "grows", disk: larger, variables, cpus: 2, target: "basic" },
      checks: {
        grow: "systemctl start cfsboot-grow.service",
        told: "journalctl --boot --output=cat --unit=cfsboot-grow.service",
        table: "sfdisk --json /dev/vda",
        verify: "sfdisk --verify /dev/vda",
        size: "findmnt --noheadings --bytes --output SIZE /sysroot",
        note: "ls /sysroot/state",
      },
    });
    expectDone(booted, "grow", "verify");
    expect(answer(booted, "told")).toContain("partition 2 of /dev/vda has 4990 MiB now");
    expect(partitions(booted)[1]).toEqual(["root", expect.closeTo(5120 - 129, 0)]);
    expect(Number(answer(booted, "size"))).toBeGreaterThan(4.6 * GIB);
    expect(answer(booted, "note")).not.toContain("grow-at-first-boot");
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
});

test("btrfs in a file, by loop devices; the file is a disk", async (context) => {
  const { installed, booted } = await installAndBoot(context, "btrfs-loop", (command) => ({
    install: `${command} --filesystem btrfs --via-loopback --size 2G /var/tmp/disk.raw`,
    loops: "losetup --all",
    copy: `dd if=/var/tmp/disk.raw of=${TARGET} bs=1M conv=sparse status=none`,
    table: `sfdisk --json ${TARGET} 2> /dev/null`,
  }));
  expectDone(installed, "copy");
  expect(answer(installed, "loops")).toBe("");
  expect(partitions(installed)).toEqual([
    ["EFI-SYSTEM", 128],
    ["root", 2048 - 2 - 128],
  ]);

  expect(answer(booted, "sysroot")).toMatch(/^\S+2 +btrfs$/);
  expect(answer(booted, "root")).toContain("verity=require");
  expect(answer(booted, "cmdline")).not.toContain("root=");
});
