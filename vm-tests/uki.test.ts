/** A machine that boots by UEFI updates itself to an image that boots with a unified kernel image, and goes back. */
import { expect, test } from "vitest";
import type { TarFile } from "../test/oci/fixtures/images.ts";
import {
  expectDone,
  FAILED,
  judged,
  needRoot,
  RELEASE,
  ROOT,
  release,
  STATUS,
  statusOf,
} from "./harness/life.ts";
import { newMachine } from "./harness/machine.ts";
import { answer } from "./harness/observations.ts";
import { makeUki } from "./harness/unified.ts";

const STUB = /usr\/lib\/systemd\/boot\/efi\/linuxx64\.efi\.stub$/;
const KERNEL = /usr\/lib\/modules\/[^/]+\/vmlinuz$/;
const INITRAMFS = /usr\/lib\/modules\/[^/]+\/initramfs\.img$/;
const CMDLINE = "cat /proc/cmdline";

test("a sealed image is staged, boots with what is in it alone, and is left again", async (context) => {
  needRoot(context);
  await using machine = await newMachine("uki");
  const files = [release("2")];
  // what boots is the same with and without the files in /boot: so its digest is known beforehand
  machine.publish("2", files);
  const first = await machine.boot({
    ...machine.beginning,
    download: "cfsboot upgrade --download-only",
    staged: STATUS,
    release: "uname -r",
    root: "findmnt -no UUID /sysroot",
  });
  expectDone(first, "seal", "configure", "download");
  const id = statusOf(first, "staged").status.staged!.composefs!.verity;

  const uki = makeUki(machine.scratch, machine.file(STUB), [
    [".osrel", 'ID=debian\nPRETTY_NAME="Sealed"\nVERSION_ID=13\n'],
    [".cmdline", `root=UUID=${answer(first, "root")} rw systemd.firstboot=off composefs=${id}`],
    [".uname", answer(first, "release")],
    [".linux", machine.file(KERNEL)],
    [".initrd", machine.file(INITRAMFS)],
  ]);
  const boot: TarFile[] = ["boot/EFI/", "boot/EFI/Linux/"].map((path) => ({ path }));
  machine.publish("2", [...files, ...boot, { path: "boot/EFI/Linux/debian.efi", data: uki }]);
  const second = await machine.boot({
    upgrade: "cfsboot upgrade",
    staged: STATUS,
    menu: `cat ${machine.entries}.staged/*`,
  });
  expectDone(second, "upgrade");
  expect(statusOf(second, "staged").status.staged).toMatchObject({
    image: { version: "2" },
    composefs: { verity: id, bootType: "Uki" },
  });
  expect(answer(second, "menu")).toMatch(`efi /EFI/Linux/bootc/bootc_composefs-${id}.efi\n`);

  const third = await machine.boot({
    root: ROOT,
    release: RELEASE,
    cmdline: CMDLINE,
    judged: judged(machine),
    status: STATUS,
    failed: FAILED,
    rollback: "cfsboot rollback",
  });
  expect(answer(third, "root")).toMatch("verity=require");
  expect(answer(third, "release")).toBe("2");
  expect(answer(third, "cmdline")).toMatch(`composefs=${id}`);
  expect(answer(third, "judged").split("\n")).toEqual([
    "bootc_debian-13-0.conf",
    "bootc_debian-13-1.conf",
  ]);
  expect(statusOf(third).status).toMatchObject({
    booted: { composefs: { verity: id, bootType: "Uki" } },
    rollback: { composefs: { bootType: "Bls" } },
  });
  expect(answer(third, "failed")).toBe("");
  expectDone(third, "rollback");

  const fourth = await machine.boot({
    root: ROOT,
    release: RELEASE,
    delete: "cfsboot delete rollback && ls /boot/EFI/Linux/bootc",
  });
  expect(answer(fourth, "root")).toMatch("verity=require");
  expect(answer(fourth, "release")).toMatch("No such file");
  expect(answer(fourth, "delete")).not.toMatch("efi");
});
