/** Images that would not come up are not staged. */
import { beforeEach, expect, test } from "vitest";
import { linux } from "../../userspace/linux.ts";
import { initramfsFiles } from "../formats/cpio-archive.ts";
import { type OsImage, TestMachine } from "./machine.ts";

beforeEach((ctx) => {
  if (linux.geteuid() !== 0) ctx.skip("not root: the owners in /etc cannot be made");
});

const BUILTIN = { path: "usr/lib/modules/6.12/modules.builtin", data: "kernel/fs/ext4/ext4.ko\n" };
const without = (name: RegExp) => initramfsFiles("6.12").filter((file) => !name.test(file.name));

test.each<[string, OsImage, RegExp]>([
  [
    "the program that sets up the root",
    { version: "14", initramfs: without(/setup-root$/) },
    /would not come up: its initramfs has neither composefs-setup-root nor/,
  ],
  [
    "EROFS",
    { version: "14", initramfs: without(/erofs/), files: [BUILTIN] },
    /would not come up: kernel 6.12 has no EROFS/,
  ],
  [
    "an initramfs of this kernel",
    { version: "14", initramfs: initramfsFiles("6.1") },
    /would not come up: its initramfs is for kernel 6.1, not for 6.12/,
  ],
])(
  "an image without %s is not staged, and nothing is written (bootc#632)",
  async (_, os, message) => {
    using machine = new TestMachine();
    await machine.stage({ version: "13" }, { counted: false });
    machine.boot();
    const before = machine.names("esp/EFI/Linux");
    await expect(machine.stage(os)).rejects.toThrow(message);
    await expect(machine.stage(os, { force: false })).rejects.toMatchObject({
      hint: expect.stringMatching(/^.*; --force stages it all the same$/),
    });
    expect(machine.names("run")).toEqual([]);
    expect(machine.names("esp/EFI/Linux")).toEqual(before);
    expect(machine.names("esp/loader")).toEqual(["entries"]);
    expect(machine.names("sysroot/state/deploy")).toHaveLength(1);

    const id = await machine.stage(os, { force: true });
    expect(machine.read("run/staged-deployment")).toContain(id);
  },
);

test("what cannot be told does not keep an image from being staged", async () => {
  using machine = new TestMachine();
  const id = await machine.stage(
    { version: "13", initramfs: without(/erofs/) },
    { counted: false },
  );
  expect(machine.boot()).toBe(id);
});
