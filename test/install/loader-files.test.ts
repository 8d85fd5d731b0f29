/** Files of boot loaders that are only written where there are none. */
import { expect, test } from "vitest";
import { AT_FDCWD } from "../../src/linux/constants.ts";
import { withDirectory } from "../../src/linux/directories.ts";
import { readFile } from "../../src/linux/files.ts";
import { writeGrubConfig } from "../../userspace/install/grub.ts";
import { type SystemdBoot, writeSystemdBoot } from "../../userspace/install/systemd-boot.ts";
import { PowerFailure } from "../model-disk/crash.ts";
import { Disk, type FileSystemKind } from "../model-disk/disk.ts";
import { ModelLinux, putFile } from "../model-disk/linux.ts";

const MARK = "a program";
const SYSTEMD_BOOT: SystemdBoot = {
  ...{ path: "systemd/boot.efi", fallback: "BOOT.EFI", mark: MARK },
  ...{ program: Buffer.from(MARK), source: "image" },
};

const grub = (linux: ModelLinux) =>
  withDirectory(linux, AT_FDCWD, "/x", (boot) =>
    writeGrubConfig(linux, boot, { uuid: "0123-abcd", separateBoot: true }),
  );
const systemdBoot = (linux: ModelLinux) =>
  withDirectory(linux, AT_FDCWD, "/x", (esp) => writeSystemdBoot(linux, esp, SYSTEMD_BOOT, true));

function empty(kind: FileSystemKind): ModelLinux {
  const disk = new Disk();
  disk.addFileSystem("x", kind);
  return new ModelLinux(disk);
}

const read = (linux: ModelLinux, path: string) =>
  Buffer.from(readFile(linux, AT_FDCWD, `/x/${path}`, 1 << 20)).toString("latin1");

test("what somebody has written stays", () => {
  const linux = empty("fat");
  systemdBoot(linux);
  expect(read(linux, "loader/loader.conf")).toBe("timeout 5\n");
  const seed = read(linux, "loader/random-seed");
  expect(seed).toHaveLength(32);
  putFile(linux, "/x/loader/loader.conf", "mine");
  systemdBoot(linux);
  expect(read(linux, "loader/loader.conf")).toBe("mine");
  expect(read(linux, "loader/random-seed")).toBe(seed);

  grub(linux);
  expect(read(linux, "grub/grubenv")).toHaveLength(1024);
  putFile(linux, "/x/grub/grubenv", "mine");
  putFile(linux, "/x/grub/grub.cfg", "mine");
  grub(linux);
  expect([read(linux, "grub/grubenv"), read(linux, "grub/grub.cfg")]).toEqual(["mine", "mine"]);
});

test("GRUB's are whole, also if the power failed while they were written, and it is done again", () => {
  const linux = empty("journaled");
  const failure = new PowerFailure(linux.disk);
  const left: ModelLinux[] = [];
  linux.onChange = (change) => {
    failure.advance(change);
    for (const disk of failure.newStates()) left.push(new ModelLinux(disk));
  };
  grub(linux);
  const files = (of: ModelLinux) => ["grub/grub.cfg", "grub/grubenv"].map((path) => read(of, path));
  const whole = files(linux);
  expect(left.length).toBeGreaterThan(8);
  for (const one of left) {
    grub(one);
    expect(files(one)).toEqual(whole);
  }
});
