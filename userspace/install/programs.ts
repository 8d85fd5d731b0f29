/** Runs the system's own tools. */
import { spawnSync } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { join } from "node:path";
import { HintedError } from "../../src/linux/hint.ts";

const MAX_OUTPUT = 16 << 20;
const MAX_SAID = 500;

/** Which Debian package has a tool. */
const PACKAGES: Readonly<Record<string, string>> = {
  blkid: "util-linux",
  cryptsetup: "cryptsetup-bin",
  debugfs: "e2fsprogs",
  losetup: "util-linux",
  partx: "util-linux",
  mcopy: "mtools",
  mdel: "mtools",
  "mkfs.btrfs": "btrfs-progs",
  "mkfs.vfat": "dosfstools",
  "mkfs.xfs": "xfsprogs",
  mke2fs: "e2fsprogs",
  sfdisk: "fdisk",
  "systemd-cryptenroll": "systemd-cryptsetup or systemd",
  wipefs: "util-linux",
};

export interface RunOptions {
  /** For its standard input. */
  readonly input?: string | Uint8Array;
  /** Exit statuses that are no errors besides 0. */
  readonly accept?: readonly number[];
  readonly env?: Readonly<Record<string, string>>;
  /** The directory that it runs in. */
  readonly cwd?: string;
  /** Also returns what it writes to its standard error, at the end. */
  readonly withErrors?: boolean;
}

/** Runs a program and returns what it prints. One that is missing, or fails, is an error with what it says. */
export function runProgram(
  name: string,
  args: readonly string[],
  options: RunOptions = {},
): string {
  const { input = "", accept = [], env = {}, cwd, withErrors = false } = options;
  const { status, signal, stdout, stderr, error } = spawnSync(name, args, {
    input,
    cwd,
    encoding: "utf8",
    maxBuffer: MAX_OUTPUT,
    env: { ...process.env, PATH: searchPath(), LC_ALL: "C", ...env },
  });
  if (error !== undefined) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw new Error(name, { cause: error });
    throw missing(name);
  }
  if (status === null || (status !== 0 && !accept.includes(status))) {
    const said = (stderr.trim() || stdout.trim()).slice(-MAX_SAID);
    throw new Error(`${name}: ${said || (signal ?? `exit status ${status}`)}`);
  }
  return withErrors ? stdout + stderr : stdout;
}

/** Throws if one of them is missing: before anything is done that cannot be finished without it. */
export function requirePrograms(names: readonly string[]): void {
  const directories = searchPath().split(":");
  const isThere = (path: string) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  };
  const absent = names.find((name) => !directories.some((each) => isThere(join(each, name))));
  if (absent !== undefined) throw missing(absent);
}

/** Also where users other than root have no path to. */
function searchPath(): string {
  return `${process.env.PATH ?? ""}:/usr/sbin:/sbin`;
}

function missing(name: string): HintedError {
  const packages = Object.hasOwn(PACKAGES, name) ? PACKAGES[name] : undefined;
  const hint = packages === undefined ? "install it" : `apt install ${packages}`;
  return new HintedError(`the program ${name} is missing`, hint);
}
