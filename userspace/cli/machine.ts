/** What all commands share that are about a machine's deployments. */
import { type Command, Option } from "commander";
import { LOADERS } from "../../src/model/loader.ts";
import type { MachineEtc } from "../deployment/conf.ts";
import type { Host, Loader } from "../deployment/host.ts";
import type { Repository } from "../repository/repository.ts";
import { isForbidden, UsageError } from "./errors.ts";
import { waiting } from "./repository.ts";

/** Where the machine is; nothing: it is the one that runs. */
export interface MachineFlags {
  readonly sysroot?: string;
  readonly boot?: readonly string[];
  readonly run?: string;
  readonly etc?: string;
  readonly loader?: Loader;
  readonly running?: string;
  readonly cmdline?: string;
}

export interface OpenMachine {
  readonly host: Host;
  readonly repository: Repository;
  /** `/etc` of what runs; absent if nothing does. */
  readonly etc: MachineEtc | undefined;
  /** Whether it is the machine that this program runs on. */
  readonly live: boolean;
  /** Whether its disk can only be read. */
  readonly readOnly: boolean;
}

const GROUP = "Another machine, by its directories (for disk images and tests):";

/** Adds the options that name another machine than the one that runs. */
export function machineOptions(command: Command): Command {
  const options = [
    new Option("--sysroot <directory>", "its physical root, with the repository in composefs"),
    new Option(
      "--boot <directory>",
      "what its boot loader reads (default: boot below --sysroot)",
    ).argParser((path: string, others: readonly string[] = []) => [...others, path]),
    new Option("--run <directory>", "its /run/composefs; without it nothing can be staged there"),
    new Option("--etc <directory>", "its /etc (default: that of the state of what runs there)"),
    new Option("--loader <name>", "its boot loader").choices(LOADERS),
    new Option("--running <id>", "what runs there; with a ? before it if without fs-verity"),
    new Option("--cmdline <arguments>", "what the kernel there was started with"),
  ];
  for (const option of options) command.addOption(option.helpGroup(GROUP));
  return command;
}

/** What names a deployment, for help. */
export const DEPLOYMENT_HELP =
  "deployment: its index in cfsboot status, its id or how that begins, booted, staged or rollback";

export function dryRunOption(): Option {
  return new Option("-n, --dry-run", "change nothing, tell what would be done").default(false);
}

/** What `--apply` does after a change: it reboots. Wrong usage where that is not the machine that is changed. */
export function rebootAfter(
  flags: MachineFlags & { readonly apply: boolean },
): () => Promise<void> {
  if (!flags.apply) return async () => {};
  if (flags.sysroot !== undefined) {
    throw new UsageError("--apply reboots the system that runs, so it cannot be with --sysroot");
  }
  return async () => {
    const { reboot } = await import("../deployment/reboot.ts");
    reboot();
  };
}

/** Opens the machine for `action`: to "look" at it, or to "change" it, which only one process at a time may. */
export async function withMachine<T>(
  flags: MachineFlags,
  purpose: "look" | "change",
  action: (machine: OpenMachine) => T | Promise<T>,
): Promise<T> {
  if (flags.sysroot === undefined) return withRunning(flags, purpose, action);
  const { openExplicitHost } = await import("../deployment/explicit-host.ts");
  const { openRepository } = await import("../repository/repository.ts");
  const { linux } = await import("../linux.ts");
  const { sysroot, boot = [], run, running, cmdline, loader = "systemd-boot" } = flags;
  using host = openExplicitHost(linux, { sysroot, boot, run, running, loader, cmdline });
  const path = `${sysroot}/composefs`;
  using repository = openRepository(path, { onWait: waiting(path) });
  const etc = await etcOf(flags, host);
  const { ST_RDONLY } = await import("../../src/linux/constants.ts");
  const readOnly = (linux.fstatfs(host.sysroot).flags & ST_RDONLY) !== 0;
  return await action({ host, repository, etc, live: false, readOnly });
}

async function etcOf({ etc }: MachineFlags, host: Host): Promise<MachineEtc | undefined> {
  const { AT_FDCWD } = await import("../../src/linux/constants.ts");
  const { DEPLOY } = await import("../deployment/host.ts");
  if (etc !== undefined) return { dirfd: AT_FDCWD, path: etc, name: etc };
  if (host.running === undefined) return undefined;
  const path = `${DEPLOY}/${host.running.id}/etc`;
  return { dirfd: host.sysroot, path, name: `${host.sysrootPath}/${path}` };
}

async function withRunning<T>(
  flags: MachineFlags,
  purpose: "look" | "change",
  action: (machine: OpenMachine) => T | Promise<T>,
): Promise<T> {
  const stray = (["boot", "run", "etc", "loader", "running", "cmdline"] as const).find(
    (name) => flags[name] !== undefined,
  );
  if (stray !== undefined) throw new UsageError(`--${stray} needs --sysroot`);
  const { AT_FDCWD } = await import("../../src/linux/constants.ts");
  const { openHost } = await import("../deployment/open-host.ts");
  const { openRepository } = await import("../repository/repository.ts");
  const { linux } = await import("../linux.ts");
  const wait = () => process.stderr.write("waiting for another process that changes deployments\n");
  const name = "/sysroot/composefs";
  using open = await asUser(() => openHost(linux, purpose === "look" ? "read" : "write", wait));
  const { host, repositoryPath, readOnly } = open;
  using repository = await asUser(() =>
    openRepository(repositoryPath, { name, onWait: waiting(name) }),
  );
  const etc = { dirfd: AT_FDCWD, path: "/etc", name: "/etc" };
  return await action({ host, repository, etc, live: true, readOnly });
}

/** Who is not root, and may not, is told so. */
async function asUser<T>(open: () => T): Promise<T> {
  const { HintedError } = await import("../../src/linux/hint.ts");
  try {
    return open();
  } catch (error) {
    if (process.geteuid?.() === 0 || !isForbidden(error)) throw error;
    throw new HintedError("only root can see the deployments", "sudo cfsboot …", { cause: error });
  }
}
