/** Builds the unified kernel image of an image that is being built, by ukify(1). */
import { spawnSync } from "node:child_process";
import { statSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { parseArgument } from "../../src/formats/cmdline.ts";
import type { HashName } from "../../src/formats/digest.ts";
import { HintedError } from "../../src/linux/hint.ts";
import type { Linux } from "../../src/linux/linux.ts";
import {
  composefsArgument,
  composefsDigestArgument,
  isComposefsArgument,
} from "../../src/model/kargs.ts";
import type { Tree } from "../../src/model/tree.ts";
import { type BootFormat, bootDigest, readBootTree } from "./boot-digest.ts";
import { containerKargs, kernelsOf, MODULES } from "./kernels.ts";
import type { Rootfs } from "./rootfs.ts";
import { ukisOf } from "./ukis.ts";

const OS_RELEASE = "/usr/lib/os-release";

/** A kernel and its initramfs, by their paths on this machine. */
export interface KernelFiles {
  /** `uname -r`. */
  readonly release: string;
  readonly vmlinuz: string;
  readonly initramfs: string;
}

/**
 * The kernel that is to go into a unified kernel image: the only one of the root file system, or that in a directory which is
 * named after its release. Throws where there is none, more than one, or such an image already.
 */
export function kernelFiles(rootfs: Rootfs, directory?: string): KernelFiles {
  const [uki] = ukisOf(rootfs);
  if (uki !== undefined) {
    throw new Error(`${rootfs.path} has a unified kernel image already: ${uki.path}`);
  }
  if (directory !== undefined) {
    const release = basename(resolve(directory));
    return withFiles(release, (name) => {
      const path = join(directory, name);
      return statSync(path, { throwIfNoEntry: false })?.isFile() ? path : undefined;
    });
  }
  const [release, another] = kernelsOf(rootfs);
  if (release === undefined) {
    throw new HintedError(
      `${rootfs.path} has no kernel: expected ${MODULES}/VERSION/vmlinuz`,
      "--kernel-dir names the directory of a kernel that was split off",
    );
  }
  if (another !== undefined) {
    throw new HintedError(
      `${rootfs.path} has more than one kernel: ${kernelsOf(rootfs).join(", ")}`,
      "--kernel-dir names the directory of one",
    );
  }
  return withFiles(release, (name) => rootfs.placeOf(`${MODULES}/${release}/${name}`));
}

function withFiles(release: string, find: (name: string) => string | undefined): KernelFiles {
  const [vmlinuz, initramfs] = ["vmlinuz", "initramfs.img"].map((name) => {
    const path = find(name);
    if (path !== undefined) return path;
    throw new Error(`kernel ${release} has no ${name} beside its other files`);
  });
  return { release, vmlinuz: vmlinuz!, initramfs: initramfs! };
}

export interface CmdlineOptions {
  /** As OCI calls it. */
  readonly architecture: string;
  /** Arguments besides those of the root file system. */
  readonly kargs: readonly string[];
  readonly hash: HashName;
  /** The image's format; `undefined`: the one that is default, and the other one for those who do not know it. */
  readonly format: BootFormat | undefined;
  /** It boots without fs-verity, too. */
  readonly insecure: boolean;
}

/** What is built into the image, and what it was made of. */
export interface SealedCmdline {
  readonly cmdline: string;
  readonly tree: Tree;
}

/**
 * The command line of a unified kernel image for this root file system: its own kernel arguments, those of `options`, and the
 * digests of the image that is made of it. Throws where an argument names an image already, or holds control characters.
 */
export function sealedCmdline(
  linux: Linux,
  rootfs: Rootfs,
  options: CmdlineOptions,
): SealedCmdline {
  const { hash, insecure, format } = options;
  const kargs = [...containerKargs(rootfs, options.architecture), ...options.kargs];
  for (const karg of kargs) {
    if (isComposefsArgument(karg)) {
      throw new Error(`kernel argument ${parseArgument(karg).key}=: it is computed, not given`);
    }
    if (/[\x00-\x1f\x7f]/.test(karg)) {
      throw new Error(`kernel argument ${JSON.stringify(karg)}: control characters are in it`);
    }
  }
  const tree = readBootTree(linux, rootfs, hash);
  const id = (erofs: BootFormat) => bootDigest(tree, hash, erofs);
  const first = () => composefsDigestArgument({ id: id(1), erofs: 1, hash, insecure });
  const second = () => composefsArgument(id(2), insecure);
  const images = format === 1 ? [first()] : format === 2 ? [second()] : [first(), second()];
  return { cmdline: [...kargs, ...images].join(" "), tree };
}

/** What ukify is run with; `more` are arguments of its own. Throws if the root file system does not say what it is. */
export function ukifyArguments(
  rootfs: Rootfs,
  kernel: KernelFiles,
  cmdline: string,
  more: readonly string[],
): string[] {
  const osRelease = rootfs.placeOf(OS_RELEASE);
  if (osRelease === undefined) throw new Error(`${rootfs.path} has no ${OS_RELEASE}`);
  return [
    ...["build", "--linux", kernel.vmlinuz, "--initrd", kernel.initramfs],
    ...["--uname", kernel.release, "--cmdline", cmdline, "--os-release", `@${osRelease}`],
    ...more,
  ];
}

/** Runs ukify, which says itself what it does, and what goes wrong. */
export function runUkify(args: readonly string[]): void {
  const { status, signal, error } = spawnSync("ukify", args, { stdio: "inherit" });
  if (error !== undefined) {
    if ("code" in error && error.code === "ENOENT") throw missingUkify();
    throw new Error("ukify", { cause: error });
  }
  if (status !== 0) throw new Error(`ukify: ${signal ?? `exit status ${status}`}`);
}

/** Throws if there is no ukify, before anything is computed for it. */
export function requireUkify(): void {
  const { error } = spawnSync("ukify", ["--version"], { stdio: "ignore" });
  if (error !== undefined) throw missingUkify();
}

function missingUkify(): HintedError {
  return new HintedError("the program ukify is missing", "install systemd-ukify");
}
