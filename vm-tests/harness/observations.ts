/** What the tests look at inside a booted system. */
import type { Checks } from "./guest.ts";
import type { Booted } from "./qemu.ts";

/** One line of /proc/self/mountinfo. */
export interface Mount {
  readonly target: string;
  /** Of the mount. */
  readonly options: readonly string[];
  readonly type: string;
  readonly source: string;
  /** Directory of the file system that is mounted. */
  readonly root: string;
  /** Of the file system. */
  readonly superOptions: readonly string[];
}

/** Commands that most tests want answered. */
export const LOOK = {
  findmnt: "findmnt --json --output TARGET,SOURCE,FSTYPE,OPTIONS /",
  mountinfo: "cat /proc/self/mountinfo",
  kernel: "uname -r",
  osRelease: "cat /etc/os-release",
  setup: "journalctl --boot --output=cat --unit=composefs-setup-root.service",
  rootWrite: "touch /usr/new",
  sysrootWrite: "touch /sysroot/new",
} satisfies Checks;

/** The mounts of an answered `mountinfo`, in the kernel's order. */
export function mounts(booted: Booted): Mount[] {
  const lines = answer(booted, "mountinfo").split("\n");
  return lines.map((line) => {
    const [left = "", right = ""] = line.split(" - ");
    const [, , , root = "", target = "", options = ""] = left.split(" ");
    const [type = "", source = "", superOptions = ""] = right.split(" ");
    return {
      target,
      root,
      type,
      source,
      options: options.split(","),
      superOptions: superOptions.split(","),
    };
  });
}

/** The mount that is seen at a path: the last one there. */
export function mountAt(booted: Booted, target: string): Mount {
  const mount = mounts(booted).findLast((m) => m.target === target);
  if (mount === undefined) throw new Error(`nothing is mounted at ${target}`);
  return mount;
}

/** What a check printed. */
export function answer(booted: Booted, name: string): string {
  const found = booted.answers[name];
  if (found === undefined) throw new Error(`no answer to ${name}`);
  return found.output;
}
