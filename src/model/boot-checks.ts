/**
 * Will an image come up? What is known about its kernel and its initramfs is judged before it is staged. What can only be
 * known by booting it is left to the counting of boots.
 */
import { openerOf } from "./encryption.ts";
import { type InitramfsContent, ROOT_MODULES, type RootModule } from "./initramfs-content.ts";

export interface Finding {
  /** Which check it was. */
  readonly check: BootCheck | "kernel-arguments";
  /** `failed`: it will most likely not come up. `warning`: it may not, or that cannot be told. */
  readonly level: "warning" | "failed";
  /** What is missing, or unknown. */
  readonly message: string;
  /** What to do about it. */
  readonly hint?: string;
}

/** The checks, and what each one asks. */
export const BOOT_CHECKS = {
  initramfs: "the initramfs is one that the kernel can unpack",
  "setup-program": "the initramfs has the program that sets up the root",
  "setup-unit": "the initramfs starts that program before the root is used",
  "kernel-modules": "the initramfs has the modules of this kernel and no other",
  erofs: "the kernel can mount EROFS, by itself or by a module in the initramfs",
  overlay: "the kernel has overlay file systems, by itself or by a module in the initramfs",
  loop: "a kernel that mounts no EROFS files has loop devices",
  "root-file-system": "the kernel can mount the root's own file system, where that is known",
  encryption: "the initramfs can open the root, if the kernel's arguments say that it is encrypted",
  "fs-verity": "the kernel has fs-verity, if it is required",
} as const;
export type BootCheck = keyof typeof BOOT_CHECKS;

/** What an image says about its kernel. */
export interface KernelFacts {
  /** `uname -r`. */
  readonly release: string;
  /** `modules.builtin`; `undefined`: there is no such file. */
  readonly builtin: string | undefined;
  /** The kernel's configuration, if the image has it. */
  readonly config: string | undefined;
}

export interface BootFacts {
  readonly kernel: KernelFacts;
  /** What the initramfs holds; an error where it cannot be read. */
  readonly initramfs: InitramfsContent | Error;
  /** Whether the root is only set up where fs-verity protects it. */
  readonly verity: boolean;
  /** The kernel's command line. */
  readonly cmdline: string;
  /** Of the root, where that is known. */
  readonly rootFileSystem: string | undefined;
}

/** Where a kernel with EROFS on files begins; earlier ones need a loop device. */
const EROFS_FILES: readonly [number, number] = [6, 12];

const MODULES: Readonly<
  Record<RootModule, { readonly built: RegExp; readonly option: string; readonly what: string }>
> = {
  erofs: { built: /\/erofs\.ko$/m, option: "CONFIG_EROFS_FS", what: "EROFS" },
  overlay: { built: /\/overlay\.ko$/m, option: "CONFIG_OVERLAY_FS", what: "overlay file systems" },
  loop: { built: /\/loop\.ko$/m, option: "CONFIG_BLK_DEV_LOOP", what: "loop devices" },
  "dm-crypt": { built: /\/dm-crypt\.ko$/m, option: "CONFIG_DM_CRYPT", what: "dm-crypt" },
  ext4: { built: /\/ext4\.ko$/m, option: "CONFIG_EXT4_FS", what: "ext4" },
  btrfs: { built: /\/btrfs\.ko$/m, option: "CONFIG_BTRFS_FS", what: "btrfs" },
  xfs: { built: /\/xfs\.ko$/m, option: "CONFIG_XFS_FS", what: "XFS" },
};

const DRACUT = "dracut makes it when the image is built: dracut --add cfsboot";

/** What speaks against an image; nothing if all is well. */
export function checkBoot(facts: BootFacts): Finding[] {
  const { kernel, initramfs, verity } = facts;
  const found: Finding[] = [];
  if (initramfs instanceof Error) {
    found.push(failed("initramfs", `its initramfs cannot be read: ${reasons(initramfs)}`, DRACUT));
  } else {
    found.push(...checkSetup(initramfs), ...checkModules(kernel, initramfs));
    found.push(...checkRoot(facts, initramfs));
  }
  if (verity && kernel.config !== undefined && !/^CONFIG_FS_VERITY=y$/m.test(kernel.config)) {
    found.push(failed("fs-verity", `kernel ${kernel.release} has no fs-verity`));
  }
  return found;
}

/** What speaks against a unified kernel image on a machine. */
export function checkUnified(facts: {
  /** Whether it boots nothing that fs-verity does not protect. */
  readonly needsVerity: boolean;
  /** Whether the repository's files have it. */
  readonly hasVerity: boolean;
  /** Whether a person has added or removed arguments on this machine. */
  readonly hasLocalKargs: boolean;
}): Finding[] {
  const found: Finding[] = [];
  if (facts.needsVerity && !facts.hasVerity) {
    found.push(
      failed(
        "fs-verity",
        "its unified kernel image requires fs-verity, and the files of the repository have none",
        "composefs=? on its command line does without; or a root file system with fs-verity",
      ),
    );
  }
  if (facts.hasLocalKargs) {
    const message =
      "the command line of its unified kernel image is part of that: this machine's own kernel arguments do not count with it";
    found.push({ check: "kernel-arguments", level: "warning", message });
  }
  return found;
}

function checkSetup({ programs, units }: InitramfsContent): Finding[] {
  const found: Finding[] = [];
  if (programs.length === 0) {
    found.push(
      failed(
        "setup-program",
        "its initramfs has neither composefs-setup-root nor /usr/lib/bootc/initramfs-setup",
        DRACUT,
      ),
    );
  }
  if (programs.length > 0 && units.length === 0) {
    found.push(
      failed(
        "setup-unit",
        `no unit that initrd-root-fs.target wants starts ${programs[0]} in its initramfs`,
        DRACUT,
      ),
    );
  }
  return found;
}

function checkModules(kernel: KernelFacts, { modules }: InitramfsContent): Finding[] {
  const found: Finding[] = [];
  const { release } = kernel;
  const others = [...modules.keys()].filter((one) => one !== release).sort();
  if (others.length > 0 && !modules.has(release)) {
    found.push(
      failed(
        "kernel-modules",
        `its initramfs is for kernel ${others.join(", ")}, not for ${release}`,
        `make it again: dracut --force --kver ${release}`,
      ),
    );
  }
  for (const name of ["erofs", "overlay"] as const) {
    const finding = checkModule(kernel, modules.get(release), name, name);
    if (finding !== undefined) found.push(finding);
  }
  if (isBefore(release, EROFS_FILES)) {
    const finding = checkModule(kernel, modules.get(release), "loop", "loop");
    if (finding !== undefined) found.push({ ...finding, level: "warning" });
  }
  return found;
}

/** What the root itself needs, besides what all do. */
function checkRoot(
  { kernel, cmdline, rootFileSystem }: BootFacts,
  { modules, openers }: InitramfsContent,
): Finding[] {
  const there = modules.get(kernel.release);
  const found: Finding[] = [];
  const need = (name: RootModule, check: BootCheck) => {
    const finding = checkModule(kernel, there, name, check);
    if (finding !== undefined) found.push(finding);
  };
  const known = ROOT_MODULES.find((name) => name === rootFileSystem);
  if (known !== undefined) need(known, "root-file-system");
  const opener = openerOf(cmdline);
  if (opener === undefined) return found;
  need("dm-crypt", "encryption");
  if (!openers.has("passphrase")) {
    found.push(
      failed(
        "encryption",
        "the root is encrypted, and its initramfs has no systemd-cryptsetup",
        'dracut puts it there if the image has it: dracut --add "crypt systemd-cryptsetup"',
      ),
    );
  } else if (opener === "tpm2" && !openers.has("tpm2")) {
    found.push(
      failed(
        "encryption",
        "a TPM opens the root, and its initramfs has no libtss2-esys to ask it",
        "dracut puts it there if the image has it: dracut --add tpm2-tss",
      ),
    );
  }
  return found;
}

function checkModule(
  { release, builtin, config }: KernelFacts,
  modules: ReadonlySet<RootModule> | undefined,
  name: RootModule,
  check: BootCheck,
): Finding | undefined {
  const { built, option, what } = MODULES[name];
  if (modules?.has(name)) return undefined;
  if (builtin !== undefined && built.test(builtin)) return undefined;
  if (config !== undefined && new RegExp(`^${option}=y$`, "m").test(config)) return undefined;
  if (builtin === undefined && config === undefined) {
    return {
      check,
      level: "warning",
      message: `cannot tell whether kernel ${release} has ${what}: no /usr/lib/modules/${release}/modules.builtin`,
    };
  }
  return failed(
    check,
    `kernel ${release} has no ${what}: neither built in nor as a module in its initramfs`,
    `have the module in the initramfs: dracut --add-drivers ${name}`,
  );
}

/** Whether a release is of a version before this one. What is no version is not. */
function isBefore(release: string, [major, minor]: readonly [number, number]): boolean {
  const match = /^(\d+)\.(\d+)/.exec(release);
  if (match === null) return false;
  const [a, b] = [Number(match[1]), Number(match[2])];
  return a < major || (a === major && b < minor);
}

function failed(check: BootCheck, message: string, hint?: string): Finding {
  return { check, level: "failed", message, ...(hint !== undefined && { hint }) };
}

function reasons(error: Error): string {
  return error.cause instanceof Error ? `${error.message}: ${reasons(error.cause)}` : error.message;
}
