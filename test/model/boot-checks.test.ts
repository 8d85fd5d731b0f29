import { expect, test } from "vitest";
import { type BootFacts, checkBoot } from "../../src/model/boot-checks.ts";
import type { RootModule } from "../../src/model/initramfs-content.ts";

const RELEASE = "6.12.1";

function facts(change: Partial<BootFacts> = {}): BootFacts {
  return {
    kernel: { release: RELEASE, builtin: "kernel/fs/ext4/ext4.ko\n", config: undefined },
    initramfs: initramfs(["erofs", "overlay"]),
    verity: true,
    ...change,
  };
}

function initramfs(modules: readonly RootModule[], release = RELEASE) {
  return {
    programs: ["/usr/lib/cfsboot/composefs-setup-root"],
    units: ["composefs-setup-root.service"],
    modules: new Map([[release, new Set(modules)]]),
  };
}

/** What is found, as `check: level`. */
const found = (change: Partial<BootFacts>) =>
  checkBoot(facts(change)).map(({ check, level }) => `${check}: ${level}`);

test("nothing speaks against an image that has all of it", () => {
  expect(found({})).toEqual([]);
});

test("modules may be built in, by the list of them or by the kernel's configuration", () => {
  const none = { ...initramfs([]), modules: new Map() };
  const builtin = "kernel/fs/erofs/erofs.ko\nkernel/fs/overlayfs/overlay.ko\n";
  const config = "CONFIG_EROFS_FS=y\nCONFIG_OVERLAY_FS=y\nCONFIG_FS_VERITY=y\n";
  const kernel = { release: RELEASE, builtin: "", config: undefined };
  expect(found({ initramfs: none, kernel: { ...kernel, builtin } })).toEqual([]);
  expect(found({ initramfs: none, kernel: { ...kernel, config } })).toEqual([]);
  const modular = config.replace("EROFS_FS=y", "EROFS_FS=m");
  expect(found({ initramfs: none, kernel: { ...kernel, config: modular } })).toEqual([
    "erofs: failed",
  ]);
});

test.each<[string, Partial<BootFacts>, string[], RegExp]>([
  [
    "an initramfs that cannot be read",
    { initramfs: new Error("offset 0", { cause: new Error("zstd: cut off") }) },
    ["initramfs: failed"],
    /cannot be read: offset 0: zstd: cut off/,
  ],
  [
    "an initramfs without the program",
    { initramfs: { ...initramfs(["erofs", "overlay"]), programs: [], units: [] } },
    ["setup-program: failed"],
    /neither composefs-setup-root nor/,
  ],
  [
    "a program that nothing starts",
    { initramfs: { ...initramfs(["erofs", "overlay"]), units: [] } },
    ["setup-unit: failed"],
    /starts \/usr\/lib\/cfsboot\/composefs-setup-root/,
  ],
  [
    "a kernel without EROFS",
    { initramfs: initramfs(["overlay"]) },
    ["erofs: failed"],
    /kernel 6.12.1 has no EROFS/,
  ],
  [
    "a kernel without overlay file systems",
    { initramfs: initramfs(["erofs"]) },
    ["overlay: failed"],
    /has no overlay file systems/,
  ],
  [
    "an initramfs of another kernel",
    { initramfs: initramfs(["erofs", "overlay"], "6.1.0") },
    ["kernel-modules: failed", "erofs: failed", "overlay: failed"],
    /is for kernel 6.1.0, not for 6.12.1/,
  ],
  [
    "a kernel without fs-verity",
    { kernel: { release: RELEASE, builtin: "", config: "CONFIG_EROFS_FS=m\n" } },
    ["fs-verity: failed"],
    /no fs-verity/,
  ],
  [
    "a kernel that nothing is known of",
    {
      initramfs: initramfs(["erofs"]),
      kernel: { release: RELEASE, builtin: undefined, config: undefined },
    },
    ["overlay: warning"],
    /cannot tell whether kernel 6.12.1 has overlay/,
  ],
  [
    "an old kernel without loop devices",
    {
      initramfs: initramfs(["erofs", "overlay"], "6.6.9"),
      kernel: { release: "6.6.9", builtin: "", config: undefined },
    },
    ["loop: warning"],
    /no loop devices/,
  ],
])("%s is told", (_, change, expected, message) => {
  expect(found(change)).toEqual(expected);
  expect(checkBoot(facts(change))[0]!.message).toMatch(message);
});

test("fs-verity is not asked for where it is not required", () => {
  const kernel = { release: RELEASE, builtin: "", config: "CONFIG_EROFS_FS=m\n" };
  expect(found({ kernel, verity: false })).toEqual([]);
});
