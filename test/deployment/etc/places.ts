/** Directories for tests of the merge: as shell commands make them. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AT_FDCWD } from "../../../src/linux/constants.ts";
import type { Linux } from "../../../src/linux/linux.ts";
import { seeThrough } from "../../../src/model/etc/see-through.ts";
import { removeEtc } from "../../../userspace/deployment/etc/remove.ts";
import type { EtcPlace } from "../../../userspace/deployment/etc/scan.ts";
import { scanEtc } from "../../../userspace/deployment/etc/scan.ts";
import { linux } from "../../../userspace/linux.ts";
import { listing } from "../../model/etc/trees.ts";

/** The real calls but for those that wait for the disk. */
export const quickLinux: Linux = { ...linux, syncfs() {}, fsync() {}, fdatasync() {} };

export const isRoot = linux.geteuid() === 0;
export const NOT_ROOT = "not root: owners, devices and mounts cannot be made";

export interface Scratch extends Disposable {
  readonly path: string;
  /** Makes a directory `name` and runs a script in it. */
  make(name: string, script?: string): EtcPlace;
}

/** A directory that is gone with the test. */
export function scratch(parent = tmpdir()): Scratch {
  const path = mkdtempSync(join(parent, "cfsboot-etc-"));
  return {
    path,
    make(name, script = "") {
      const cwd = join(path, name);
      mkdirSync(cwd);
      execFileSync("sh", ["-euc", `umask 022\n${script}`], { cwd });
      return place(cwd);
    },
    [Symbol.dispose]: () => void removeEtc(linux, AT_FDCWD, path),
  };
}

export function place(path: string): EtcPlace {
  return { dirfd: AT_FDCWD, path, name: path };
}

/** Everything in a directory, content and times too; not its sockets, nor `.updated`. */
export function contentsOf(where: EtcPlace | string): Record<string, unknown> {
  using scanned = scanEtc(linux, typeof where === "string" ? place(where) : where, "entered");
  return listing(seeThrough(scanned.tree).tree);
}
