import { expect, test } from "vitest";
import { type BootFacts, checkBoot } from "../../src/model/boot-checks.ts";
import type { Opener } from "../../src/model/encryption.ts";
import type { RootModule } from "../../src/model/initramfs-content.ts";

const RELEASE = "6.12.1";

function facts(change: Partial<BootFacts> = {}): BootFacts {
  return {
    kernel: { release: RELEASE, builtin: "kernel/fs/ext4/ext4.ko\n", config: undefined },
    initramfs: initramfs(["erofs", "overlay"]),
    ...{ verity: true, cmdline: "root=UUID=1 rw", rootFileSystem: undefined },
    ...change,
  };
}

function initramfs(
  modules: readonly RootModule[],
  release = RELEASE,
  openers: readonly Opener[] = [],
) {
  return {
    programs: ["/usr/lib/cfsboot/composefs-setup-root"],
    units: ["composefs-setup-root.service"],
    modules: new Map([[release, new Set(modules)]]),
    openers: new Set(openers),
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

const ENCRYPTED = "rd.luks.name=01234567-89ab-cdef-0123-456789abcdef=root root=/dev/mapper/root rw";
const BY_TPM = `${ENCRYPTED} rd.luks.options=01234567-89ab-cdef-0123-456789abcdef=tpm2-device=auto`;
const ALL = ["erofs", "overlay", "dm-crypt"] as const;

test.each<[string, Partial<BootFacts>, string[]]>([
  [
    "all that it takes",
    { cmdline: BY_TPM, initramfs: initramfs(ALL, RELEASE, ["passphrase", "tpm2"]) },
    [],
  ],
  [
    "no TPM's libraries, which nobody needs",
    { cmdline: ENCRYPTED, initramfs: initramfs(ALL, RELEASE, ["passphrase"]) },
    [],
  ],
  [
    "no systemd-cryptsetup",
    { cmdline: ENCRYPTED, initramfs: initramfs(ALL) },
    ["encryption: failed"],
  ],
  [
    "nor what a TPM is asked by",
    { cmdline: BY_TPM, initramfs: initramfs(ALL, RELEASE, ["passphrase"]) },
    ["encryption: failed"],
  ],
  [
    "no dm-crypt",
    { cmdline: ENCRYPTED, initramfs: initramfs(["erofs", "overlay"], RELEASE, ["passphrase"]) },
    ["encryption: failed"],
  ],
])("an encrypted root, with an initramfs that has %s", (_, change, expected) => {
  expect(found(change)).toEqual(expected);
});

test("the root's own file system is looked for where it is known", () => {
  expect(found({ rootFileSystem: "ext4" })).toEqual([]);
  expect(found({ rootFileSystem: "btrfs" })).toEqual(["root-file-system: failed"]);
  expect(found({ rootFileSystem: "btrfs", initramfs: initramfs([...ALL, "btrfs"]) })).toEqual([]);
  expect(found({ rootFileSystem: "bcachefs" })).toEqual([]);
});
