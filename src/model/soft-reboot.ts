/**
 * Soft reboots: user space begins anew with another deployment, and the kernel goes on. That is only for a deployment which
 * could have been booted with this very kernel, by these very arguments.
 */
import { parseArgument, parseComposefsArguments, splitCmdline } from "../formats/cmdline.ts";
import type { Deployment } from "./deployments.ts";
import { isComposefsArgument } from "./kargs.ts";
import { entryOptions } from "./menu-repair.ts";

/** What a kernel was, or would be, started with. */
export interface KernelState {
  /** Of kernel and initramfs; absent where nothing says it. */
  readonly bootDigest: string | undefined;
  /** What they are kept under. */
  readonly artifact: string;
  /** The kernel's arguments; absent where they are in a unified kernel image. */
  readonly options: string | undefined;
}

/** How a deployment would be started. */
export function kernelStateOf({ entry, state }: Pick<Deployment, "entry" | "state">): KernelState {
  const { artifact, bls, bootType } = entry;
  const bootDigest = state?.origin?.bootDigest;
  return { bootDigest, artifact, options: bootType === "uki" ? undefined : (bls.options ?? "") };
}

/** What the running kernel was started with: by its command line, where that is known, else by its entry. */
export function runningKernelState(
  booted: Pick<Deployment, "entry" | "state">,
  cmdline: string | undefined,
): KernelState {
  const state = kernelStateOf(booted);
  return cmdline === undefined ? state : { ...state, options: entryOptions(cmdline) };
}

/** Why the kernel that runs is not what would be booted, for people, as said of the deployment; empty if it is. */
export function kernelObstacles(running: KernelState, next: KernelState): string[] {
  const sameKernel =
    running.bootDigest === undefined || next.bootDigest === undefined
      ? running.artifact === next.artifact
      : running.bootDigest === next.bootDigest;
  const obstacles = sameKernel ? [] : ["it has another kernel or initramfs"];
  if (running.options === undefined || next.options === undefined) {
    return [...obstacles, "the arguments in a unified kernel image are not compared"];
  }
  const differing = differingArguments(running.options, next.options);
  if (differing.length === 0) return obstacles;
  return [...obstacles, `it has other kernel arguments: ${differing.join(" ")}`];
}

/**
 * Arguments in which two command lines differ, besides those that name the image: those that only the second has with a `+`
 * before them, those that only the first has with a `-`. The order counts among those of the same name.
 */
export function differingArguments(before: string, after: string): string[] {
  const [old, now] = [byName(before), byName(after)];
  return [...new Set([...old.keys(), ...now.keys()])].flatMap((name) => {
    const [gone, added] = [old.get(name) ?? [], now.get(name) ?? []];
    if (gone.length === added.length && gone.every((one, i) => one === added[i])) return [];
    return [...gone.map((one) => `-${one}`), ...added.map((one) => `+${one}`)];
  });
}

/** Dashes and underscores in names are the same to the kernel. */
function byName(cmdline: string): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const argument of splitCmdline(cmdline)) {
    if (isComposefsArgument(argument)) continue;
    const name = parseArgument(argument).key.replaceAll("-", "_");
    found.set(name, [...(found.get(name) ?? []), argument]);
  }
  return found;
}

/**
 * Whether what runs was come to by a soft reboot: the kernel was told to boot another image. The boot loader has not tried it
 * then.
 */
export function isSoftRebooted(cmdline: string | undefined, running: string): boolean {
  try {
    const images = parseComposefsArguments(cmdline ?? "");
    return images.length > 0 && images.every(({ digest }) => digest !== running);
  } catch {
    return false; // nothing that anything was booted from
  }
}
