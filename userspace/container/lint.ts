/** Checks of an image that is being built, with bootc's names where it has them, and ours of whether it will come up. */
import { display, toText } from "../../src/formats/bytestring.ts";
import { BOOT_CHECKS, type BootCheck, type Finding } from "../../src/model/boot-checks.ts";
import { bootedKernel, checkContainer, containerKargs, kernelsOf } from "./kernels.ts";
import { userDrift, varDrift } from "./lint-drift.ts";
import { mismatchedUkis, unreadableUkis } from "./lint-ukis.ts";
import type { Rootfs } from "./rootfs.ts";
import { ukisOf } from "./ukis.ts";

export type LintLevel = "error" | "warning";

export interface Lint {
  readonly name: string;
  readonly level: LintLevel;
  /** What is asked for. */
  readonly what: string;
}

export interface LintFinding {
  readonly lint: string;
  readonly level: LintLevel;
  readonly message: string;
}

interface RunnableLint extends Lint {
  /** What is wrong. */
  readonly run: (context: Context) => readonly string[] | readonly Finding[];
}

interface Context {
  readonly rootfs: Rootfs;
  readonly architecture: string;
  /** Those of all boot checks, made once. */
  readonly boot: () => readonly Finding[];
}

const API_DIRECTORIES = ["/dev", "/proc", "/run", "/sys", "/tmp", "/var"];
/** What builders put there for the time of a build. */
const OF_BUILDERS: ReadonlySet<string> = new Set([".containerenv", "secrets"]);
const INJECTED = ["/etc/hostname", "/etc/resolv.conf"];

const LINTS: readonly RunnableLint[] = [
  {
    name: "var-run",
    level: "error",
    what: "/var/run is a symlink",
    run: ({ rootfs }) =>
      rootfs.typeOf("/var/run") === "directory"
        ? ["/var/run is a directory, expected a symlink to /run"]
        : [],
  },
  {
    name: "buildah-injected",
    level: "warning",
    what: "/etc/hostname and /etc/resolv.conf are not what a build has left empty",
    run: ({ rootfs }) =>
      INJECTED.filter((path) => rootfs.typeOf(path) === "file" && rootfs.size(path) === 0).map(
        (path) => `${path} is empty: a build has left it`,
      ),
  },
  {
    name: "etc-usretc",
    level: "error",
    what: "there is /etc, and not /usr/etc as well",
    run: ({ rootfs }) => {
      if (!rootfs.isDirectory("/etc")) return ["/etc is missing"];
      return rootfs.typeOf("/usr/etc") === undefined
        ? []
        : ["there is /usr/etc beside /etc: expected the files in /etc alone"];
    },
  },
  {
    name: "bootc-kargs",
    level: "error",
    what: "files of kernel arguments can be read",
    run: ({ rootfs, architecture }) => {
      try {
        containerKargs(rootfs, architecture);
        return [];
      } catch (error) {
        return [(error as Error).message];
      }
    },
  },
  {
    name: "kernel",
    level: "error",
    what: "there is one kernel, with its initramfs",
    run: ({ rootfs }) => {
      if (bootedKernel(rootfs)?.unified) return [];
      const kernels = kernelsOf(rootfs);
      if (kernels.length === 0) {
        return ["there is no kernel: expected /usr/lib/modules/VERSION/vmlinuz"];
      }
      if (kernels.length > 1) {
        return [`there are ${kernels.length} kernels: ${kernels.join(", ")}; expected one`];
      }
      const initramfs = `/usr/lib/modules/${kernels[0]}/initramfs.img`;
      return rootfs.typeOf(initramfs) === "file" ? [] : [`${initramfs} is missing`];
    },
  },
  {
    name: "uki",
    level: "error",
    what: "unified kernel images and their addons can be read, and are for this architecture",
    run: ({ rootfs, architecture }) => unreadableUkis(rootfs, architecture),
  },
  {
    name: "uki-digest",
    level: "error",
    what: "unified kernel images boot this root file system (which is not asked of a running one)",
    run: ({ rootfs }) => mismatchedUkis(rootfs),
  },
  {
    name: "utf8",
    level: "error",
    what: "names and targets of symlinks are UTF-8",
    run: ({ rootfs }) => {
      const found: string[] = [];
      rootfs.walk((path, target) => {
        // of what is below such a directory it is said once
        const name = path.slice(path.lastIndexOf("/") + 1) as typeof path;
        if (toText(name) === undefined) found.push(`${display(path)}: the name is not UTF-8`);
        if (target !== undefined && toText(target) === undefined) {
          found.push(`${display(path)}: the target ${display(target)} is not UTF-8`);
        }
      });
      return found;
    },
  },
  {
    name: "api-base-directories",
    level: "error",
    what: `there are ${API_DIRECTORIES.join(", ")}`,
    run: ({ rootfs }) =>
      API_DIRECTORIES.filter(
        (path) => rootfs.typeOf(path) !== "symlink" && !rootfs.isDirectory(path),
      ).map((path) => `${path} is missing`),
  },
  {
    name: "baseimage-root",
    level: "error",
    what: "there are /boot and /sysroot",
    run: ({ rootfs }) =>
      ["/boot", "/sysroot"]
        .filter((path) => rootfs.typeOf(path) === "symlink" || !rootfs.isDirectory(path))
        .map((path) => `${path} is missing: a bootable image needs the directory`),
  },
  {
    name: "var-log",
    level: "warning",
    what: "there are no log files in /var/log",
    run: ({ rootfs }) =>
      rootfs
        .names("/var/log")
        .map((name) => `/var/log/${name}`)
        .filter((path) => rootfs.typeOf(path) === "file" && rootfs.size(path) !== 0)
        .map((path) => `${path} is in every machine's log`),
  },
  {
    name: "var-tmpfiles",
    level: "warning",
    what: "tmpfiles.d makes what is in /var, which machines get from the image only once",
    run: ({ rootfs }) => varDrift(rootfs),
  },
  {
    name: "sysusers",
    level: "warning",
    what: "sysusers.d makes the users and groups, which a machine with some of its own does not get else",
    run: ({ rootfs }) => userDrift(rootfs),
  },
  {
    name: "nonempty-boot",
    level: "warning",
    what: "/boot is empty, but for /boot/EFI and dump files of unified kernel images",
    run: ({ rootfs }) =>
      rootfs
        .names("/boot")
        .filter((name) => name !== "EFI" && !belongsToUki(rootfs, name))
        .map((name) => `/boot/${name} is not in what is booted`),
  },
  {
    name: "nonempty-run-tmp",
    level: "warning",
    what: "/run and /tmp are empty",
    run: ({ rootfs }) =>
      ["/run", "/tmp"].flatMap((directory) =>
        rootfs
          .names(directory)
          .filter((name) => !OF_BUILDERS.has(name))
          .map((name) => `${directory}/${name} is hidden when the image runs`),
      ),
  },
  ...Object.entries(BOOT_CHECKS).map(
    ([name, what]): RunnableLint => ({
      name,
      level: name === "loop" ? "warning" : "error",
      what,
      run: ({ boot }) => boot().filter(({ check }) => check === (name as BootCheck)),
    }),
  ),
];

/** Whether something in `/boot` was put there with a unified kernel image. */
function belongsToUki(rootfs: Rootfs, name: string): boolean {
  return ukisOf(rootfs).some(({ stem }) => name === `${stem}.dump`);
}

/** All that there are, in the order in which they run. */
export function listLints(): readonly Lint[] {
  return LINTS;
}

/** Runs them, but for those that are named. `architecture` as OCI calls it. */
export function lint(
  rootfs: Rootfs,
  architecture: string,
  skip: ReadonlySet<string>,
): LintFinding[] {
  let boot: readonly Finding[] | undefined;
  const context: Context = {
    rootfs,
    architecture,
    boot: () => {
      boot ??= checkContainer(rootfs);
      return boot;
    },
  };
  return LINTS.filter(({ name }) => !skip.has(name)).flatMap(({ name, level, run }) =>
    run(context).map((found): LintFinding => {
      if (typeof found === "string") return { lint: name, level, message: found };
      const { message, level: weight } = found;
      return { lint: name, level: weight === "failed" ? "error" : "warning", message };
    }),
  );
}
