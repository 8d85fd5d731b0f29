/** Machines whose boot files are not where most have them. */
import { execFileSync } from "node:child_process";
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { grubConfig } from "../src/formats/grub-config.ts";
import { makeGrub } from "../userspace/install/grub.ts";
import { partitionNamed } from "./harness/disk-partitions.ts";
import { quoted } from "./harness/ext4.ts";
import {
  expectDone,
  FAILED,
  judged,
  type LivingMachine,
  needRoot,
  needTime,
  RELEASE,
  release,
  SHUTDOWN,
  STATUS,
  slots,
  statusOf,
} from "./harness/life.ts";
import { newMachine } from "./harness/machine.ts";
import { answer } from "./harness/observations.ts";
import { boot, newVariables } from "./harness/qemu.ts";

/** What an ESP of its own has, and has not. It may be mounted elsewhere, to be written to, and so must be mounted alike. */
const esp = (device: string) =>
  `mkdir -p /run/esp && mount ${device} /run/esp && cd /run/esp && find EFI/Linux loader/entries -type f | sort; cd /; umount /run/esp`;

test("an extended boot loader partition has the entries and kernels, and the ESP has none", async (context) => {
  needRoot(context);
  needTime(context);
  const options = ["--xbootldr", "128M"];
  await using machine = await newMachine("xbootldr", { loader: "systemd", options });
  machine.publish("2", [release("2"), machine.initramfsWith({ "etc/changed": "yes\n" })]);
  const first = await machine.boot({
    ...machine.beginning,
    upgrade: "cfsboot upgrade",
    staged: STATUS,
    failed: FAILED,
  });
  expectDone(first, "seal", "configure", "upgrade");
  expect(answer(first, "failed")).toBe("");
  const second = await machine.boot({
    judged: judged(machine),
    release: RELEASE,
    status: STATUS,
    esp: esp("/dev/vda1"),
    xbootldr: esp("/dev/vda2"),
    failed: FAILED,
    shutdown: SHUTDOWN,
  });
  expectDone(second, "judged");
  expect(answer(second, "release")).toBe("2");
  expect(slots(statusOf(second))).toBe("booted rollback");
  expect(answer(second, "esp")).toBe("");
  expect(
    answer(second, "xbootldr")
      .replaceAll(/[0-9a-f]{128}/g, "ID")
      .split("\n"),
  ).toEqual([
    ...Array(2)
      .fill(["initrd", "vmlinuz"])
      .flat()
      .map((name) => `EFI/Linux/bootc_composefs-ID/${name}`),
    "loader/entries/bootc_debian-13-0.conf",
    "loader/entries/bootc_debian-13-1.conf",
  ]);
  expect(answer(second, "failed")).toBe("");
  expect(answer(second, "shutdown")).toBe("");
});

const BOOT_UUID = "5f2c1c0e-6d0b-4d8e-9d0a-0b7a3f0c9b11";

/** Moves `/boot` from the root to a partition of its own. */
function separateBoot(disk: string, work: string): void {
  const [esp, boot] = [partitionNamed(disk, "EFI-SYSTEM"), partitionNamed(disk, "XBOOTLDR")];
  const content = join(work, "content");
  mkdirSync(content);
  execFileSync(
    "/sbin/debugfs",
    [
      "-R",
      `rdump /boot ${quoted(content)}`,
      `${disk}?offset=${partitionNamed(disk, "root").start}`,
    ],
    {
      stdio: "ignore",
    },
  );
  const directory = join(content, "boot");
  const entries = join(directory, "loader/entries");
  for (const name of readdirSync(entries)) {
    const path = join(entries, name);
    const mount = `systemd.mount-extra=UUID=${BOOT_UUID}:/boot:ext4:defaults`;
    const text = readFileSync(path, "utf8").replaceAll(
      "/boot/bootc_composefs-",
      "/bootc_composefs-",
    );
    writeFileSync(
      path,
      name.endsWith(".conf")
        ? text.replace(/^options .*/m, `$& ${mount} systemd.gpt_auto=0`)
        : text.replace(/^ +linux .*/m, `$& '${mount}' 'systemd.gpt_auto=0'`),
    );
  }
  const place = { uuid: BOOT_UUID, separateBoot: true };
  writeFileSync(join(directory, "grub/grub.cfg"), grubConfig({ ...place, timeout: 0 }));
  const image = join(work, "boot.ext4");
  const size = `${boot.size >> 10}k`;
  execFileSync("/sbin/mke2fs", ["-q", "-t", "ext4", "-U", BOOT_UUID, "-d", directory, image, size]);
  const fd = openSync(disk, "r+");
  writeSync(fd, readFileSync(image), 0, boot.size, boot.start);
  closeSync(fd);
  const program = join(work, "grub.efi");
  writeFileSync(program, makeGrub(place, "amd64").program);
  for (const path of ["EFI/BOOT/BOOTX64.EFI", "EFI/cfsboot/grubx64.efi"])
    execFileSync("mcopy", ["-o", "-i", `${disk}@@${esp.start}`, program, `::${path}`]);
}

test("GRUB with a /boot of its own (57)", async (context) => {
  needRoot(context);
  needTime(context);
  const options = ["--xbootldr", "200M"];
  await using machine = await newMachine("separate boot", { loader: "grub", options });
  separateBoot(machine.hardware.disk, machine.scratch);
  machine.publish("2", [release("2"), machine.initramfsWith({ "etc/changed": "yes\n" })]);
  const first = await machine.boot({
    ...machine.beginning,
    mounted: "findmnt -no FSTYPE /boot",
    upgrade: "cfsboot upgrade",
    failed: FAILED,
  });
  expectDone(first, "seal", "configure", "mounted", "upgrade");
  expect(answer(first, "failed")).toBe("");
  const second = await machine.boot({
    judged: judged(machine),
    blessed: "cat /boot/grub/grubenv",
    release: RELEASE,
    status: STATUS,
    kernels: "ls -d /boot/bootc_composefs-*",
    rollback: "cfsboot rollback",
    failed: FAILED,
    shutdown: SHUTDOWN,
  });
  expect(answer(second, "release")).toBe("2");
  expect(slots(statusOf(second))).toBe("booted rollback");
  expect(answer(second, "kernels").split("\n")).toHaveLength(2);
  expect(answer(second, "blessed")).toMatch("boot_success=1");
  expectDone(second, "judged", "rollback");
  expect(answer(second, "failed")).toBe("");
  expect(answer(second, "shutdown")).toBe("");
  const third = await machine.boot({ release: RELEASE, status: STATUS });
  expect(answer(third, "release")).toMatch("No such file");
  expect(slots(statusOf(third))).toBe("booted rollback");
});

/** Puts the root on a mirror of the disks' last partitions, one without metadata. */
const MIRROR = `
insmod /etc/md-mod.ko
insmod /etc/raid1.ko
wait_for() { n=100; until [ -e /sys/class/block/$1 ] || [ $n = 0 ]; do sleep 0.1; n=$((n - 1)); done; }
wait_for vda2
wait_for vdb2
echo md0 > /sys/module/md_mod/parameters/new_array
cd /sys/block/md0/md
echo none > metadata_version
echo raid1 > level
echo 2 > raid_disks
echo $(($(cat /sys/class/block/vda2/size) / 2)) > component_size
for slot in 0:vda2 1:vdb2; do
  name=\${slot#*:}
  [ -e /sys/class/block/$name ] || continue
  cat /sys/class/block/$name/dev > new_dev
  echo \${slot%:*} > dev-$name/slot
done
echo none > resync_start
echo active > array_state
`;
const MIRROR_UNIT = `[Unit]
DefaultDependencies=no
Before=initrd-root-device.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh /etc/mirror.sh
StandardOutput=journal+console
`;

function mirrorFiles(machine: LivingMachine) {
  const module = (name: string) =>
    execFileSync("xz", ["-dc"], {
      input: machine.file(new RegExp(`/drivers/md/${name}\\.ko\\.xz$`)),
      maxBuffer: 1 << 26,
    });
  return {
    "etc/mirror.sh": MIRROR,
    "etc/md-mod.ko": module("md-mod"),
    "etc/raid1.ko": module("raid1"),
    "etc/systemd/system/mirror.service": MIRROR_UNIT,
    "etc/systemd/system/sysinit.target.d/mirror.conf": "[Unit]\nWants=mirror.service\n",
  };
}

test("a root on two disks: the ESPs of both are kept in step, and each boots alone (32)", async (context) => {
  needRoot(context);
  needTime(context);
  const options = ["--karg", "root=/dev/md0"];
  await using machine = await newMachine("mirror", { loader: "systemd", options });
  const { disk } = machine.hardware;
  const initramfs = machine.initramfsWith(mirrorFiles(machine));
  const image = `${disk}@@${partitionNamed(disk, "EFI-SYSTEM").start}`;
  const file = join(machine.scratch, "initrd");
  writeFileSync(file, initramfs.data!);
  const kernel = execFileSync("mdir", ["-b", "-i", image, "::EFI/Linux"], { encoding: "utf8" });
  const [directory = ""] = /EFI\/Linux\/bootc_composefs-[0-9a-f]+/.exec(kernel) ?? [];
  execFileSync("mcopy", ["-o", "-i", image, file, `::${directory}/initrd`]);
  const twin = join(machine.scratch, "twin");
  execFileSync("cp", ["--sparse=always", disk, twin]);

  machine.publish("2", [release("2"), initramfs]);
  const both = { moreDisks: [twin] };
  const looks = { one: esp("/dev/vda1"), two: esp("/dev/vdb1") };
  const first = await machine.boot(
    {
      ...machine.beginning,
      disks: "lsblk -nso NAME $(findmnt -no SOURCE /sysroot)",
      upgrade: "cfsboot upgrade",
      ...looks,
      failed: FAILED,
    },
    undefined,
    both,
  );
  expectDone(first, "seal", "configure", "upgrade");
  expect(answer(first, "disks")).toMatch(/vda[\s\S]*vdb/);
  expect(answer(first, "two")).toBe(answer(first, "one"));
  expect(answer(first, "failed")).toBe("");

  const second = await machine.boot(
    { judged: judged(machine), release: RELEASE, status: STATUS, ...looks, shutdown: SHUTDOWN },
    undefined,
    both,
  );
  expectDone(second, "judged");
  expect(answer(second, "release")).toBe("2");
  expect(slots(statusOf(second))).toBe("booted rollback");
  expect(answer(second, "one")).toMatch("bootc_debian-13-1.conf");
  expect(answer(second, "two")).toBe(answer(second, "one"));
  expect(answer(second, "shutdown")).toBe("");

  const variables = join(machine.scratch, "other-variables");
  newVariables(variables);
  const alone = await boot({
    ...machine.hardware,
    ...{ name: "mirror, the second disk alone", disk: twin, variables },
    ...{ target: "multi-user", powerOff: "clean" },
    checks: { release: RELEASE, status: STATUS },
  });
  expect(answer(alone, "release")).toBe("2");
  expect(slots(statusOf(alone))).toBe("booted rollback");
});
