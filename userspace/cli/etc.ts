/** `cfsboot etc` */
import { basename, dirname } from "node:path";
import { type Command, Option } from "commander";
import {
  AT_FDCWD,
  AT_SYMLINK_NOFOLLOW,
  O_CLOEXEC,
  O_DIRECTORY,
} from "../../src/linux/constants.ts";
import { isErrno, type Linux } from "../../src/linux/linux.ts";
import { ETC_STRATEGIES, type EtcStrategy } from "../../src/model/etc/merge.ts";
import {
  type EtcChangeReport,
  type EtcConflictReport,
  type EtcReport,
  reportChange,
  reportPlan,
} from "../../src/model/etc/report.ts";
import type { EtcPlaces, KnownEtc } from "../deployment/etc/merge.ts";
import type { EtcPlace } from "../deployment/etc/scan.ts";
import { UsageError } from "./errors.ts";
import { addExamples } from "./example.ts";
import { within } from "./files.ts";
import { type MachineFlags, machineOptions, withMachine } from "./machine.ts";
import { table } from "./table.ts";

type Role = keyof EtcPlaces;

interface Flags extends Partial<Record<Role, string>>, MachineFlags {
  readonly json: boolean;
}

interface MergeFlags extends Flags {
  readonly etcConflicts?: EtcStrategy;
}

const ROLES: Readonly<Record<Role, string>> = {
  pristine: "what the machine's image has in /etc",
  current: "what the machine has there (default: /etc)",
  next: "what the new image has there",
};

/** The directories of these roles are those of the machine, if no option says otherwise. */
const OF_THE_MACHINE: Readonly<Partial<Record<Role, string>>> = {
  pristine: "a directory that stands for the machine's image",
  current: "a directory that stands for the machine's /etc",
  next: "a directory that stands for the new image",
};

export function register(program: Command): void {
  const etc = program
    .command("etc")
    .description("changes of /etc, and their merge with a new image");
  registerDiff(etc);
  registerConflicts(etc);
  registerMerge(etc);
}

function registerDiff(etc: Command): void {
  const command = etc
    .command("diff")
    .description("list what was changed in /etc")
    .option("--json", "print JSON", false)
    .action(diff);
  roleOptions(command, ["pristine", "current"], OF_THE_MACHINE);
  machineOptions(command);
  addExamples(command, "cfsboot etc diff", "cfsboot etc diff --pristine /mnt/etc");
}

function registerConflicts(etc: Command): void {
  const command = etc
    .command("conflicts")
    .description(
      "list where changes of /etc and of a new image meet; exit status 1 if one stops the merge",
    )
    .argument("[image]", "the new image: a deployment, or a tag or @sha256:… (default: staged)")
    .option("--json", "print JSON; the exit status is 0 then, whatever is found", false)
    .action(conflicts);
  roleOptions(command, ["pristine", "current", "next"], OF_THE_MACHINE).addOption(
    strategyOption("what the machine does; of directories fail"),
  );
  machineOptions(command);
  addExamples(
    command,
    "cfsboot etc conflicts",
    "cfsboot etc conflicts --pristine /mnt/old/etc --next /mnt/new/etc --etc-conflicts merge",
  );
}

function registerMerge(etc: Command): void {
  const command = etc
    .command("merge")
    .description("merge three directories into a new one")
    .argument("<out>", "the directory to make")
    .option("-n, --dry-run", "make nothing, tell what would be done", false)
    .option("--json", "print JSON", false)
    .action(merge);
  roleOptions(command, ["pristine", "current", "next"]).addOption(strategyOption("fail"));
  addExamples(
    command,
    "cfsboot etc merge --pristine old/etc --current machine/etc --next new/etc merged",
    "cfsboot etc merge --pristine old/etc --next new/etc --dry-run merged",
  );
}

function roleOptions(
  command: Command,
  roles: readonly Role[],
  texts: Readonly<Partial<Record<Role, string>>> = ROLES,
): Command {
  for (const role of roles) command.option(`--${role} <dir>`, texts[role]);
  return command;
}

function strategyOption(byDefault: string): Option {
  const what = "what to do where both changed /etc";
  return new Option("--etc-conflicts <strategy>", `${what} (default: ${byDefault})`).choices(
    ETC_STRATEGIES,
  );
}

function placeOf(role: Role, flags: Flags): EtcPlace {
  const path = flags[role] ?? (role === "current" ? "/etc" : undefined);
  if (path === undefined) throw new UsageError(`--${role} is missing: ${ROLES[role]}`);
  return { dirfd: AT_FDCWD, path, name: path.replace(/(?<=.)\/+$/, "") };
}

function placesOf(flags: Flags): EtcPlaces {
  const [pristine, current, next] = (["pristine", "current", "next"] as const).map((role) =>
    placeOf(role, flags),
  ) as [EtcPlace, EtcPlace, EtcPlace];
  return { pristine, current, next };
}

interface MachineEtcs {
  readonly current: EtcPlace;
  /** That of a deployment, or of an image of the repository. */
  readonly of: (name: string) => KnownEtc;
  readonly isStaged: boolean;
  /** What is done about conflicts with an image, or with what is staged. */
  readonly strategyFor: (next: "an image" | "staged") => EtcStrategy;
}

/** Opens the machine to look at its `/etc`, or at what `--current` names, and at those of its images. */
async function withMachineEtc<T>(
  flags: Flags,
  use: (etcs: MachineEtcs) => T | Promise<T>,
): Promise<T> {
  const { observe } = await import("../deployment/observe.ts");
  const { openSide } = await import("../deployment/diff.ts");
  const { NotDeployedError } = await import("../deployment/open-host.ts");
  const { understand } = await import("../../src/model/deployments.ts");
  const { imageEtc } = await import("../deployment/image-etc.ts");
  const { readConf } = await import("../deployment/conf.ts");
  try {
    return await withMachine(flags, "look", ({ host, repository, etc }) => {
      const machine = understand(observe(host, repository).seen);
      const of = (name: string) => {
        const side = openSide(repository, machine, name);
        return { name: `/etc of ${side.name}`, tree: imageEtc(repository, side.tree) };
      };
      const current = flags.current === undefined ? etc : placeOf("current", flags);
      if (current === undefined) throw new UsageError(`--current is missing: ${ROLES.current}`);
      const { staged } = machine;
      const strategyFor = (next: "an image" | "staged") =>
        (next === "staged" ? staged?.state?.origin?.etcConflicts : undefined) ??
        readConf(host.linux, etc).etcConflicts;
      return use({ current, of, isStaged: staged !== undefined, strategyFor });
    });
  } catch (error) {
    if (!(error instanceof NotDeployedError)) throw error;
    const role = flags.pristine === undefined ? "pristine" : "next";
    throw new UsageError(`--${role} is missing: ${ROLES[role]}`, { cause: error });
  }
}

async function diff(flags: Flags): Promise<void> {
  if (flags.pristine !== undefined) {
    return tellDiff(placeOf("pristine", flags), placeOf("current", flags), flags);
  }
  await withMachineEtc(flags, ({ current, of }) => tellDiff(of("booted"), current, flags));
}

async function tellDiff(
  pristine: EtcPlaces["pristine"],
  current: EtcPlace,
  flags: Flags,
): Promise<void> {
  const { linux } = await import("../linux.ts");
  const { diffEtc } = await import("../deployment/etc/diff.ts");
  const { display } = await import("../../src/formats/bytestring.ts");
  const found = await within(`compare ${pristine.name} with ${current.name}`, () =>
    diffEtc(linux, pristine, current),
  );
  const [changes, sockets, mounts] = [
    found.changes.map(reportChange),
    found.sockets.map(display),
    found.mounts.map(display),
  ];
  if (flags.json) return printJson({ version: 1, changes, sockets, mounts });
  process.stdout.write(changes.length === 0 ? "no changes\n" : changesTable(changes));
  warn(current.name, { sockets, mounts });
}

async function conflicts(name: string | undefined, flags: MergeFlags): Promise<void> {
  if (name !== undefined && flags.next !== undefined) {
    throw new UsageError(`the new image is named twice: ${name}, and by --next`);
  }
  if (flags.pristine !== undefined && flags.next !== undefined) {
    return tellConflicts(placesOf(flags), flags, flags.etcConflicts ?? "fail");
  }
  const { HintedError } = await import("../../src/linux/hint.ts");
  await withMachineEtc(flags, ({ current, of, isStaged, strategyFor }) => {
    if (name === undefined && flags.next === undefined && !isStaged) {
      throw new HintedError("nothing is staged", "cfsboot etc conflicts IMAGE names another image");
    }
    const pristine = flags.pristine === undefined ? of("booted") : placeOf("pristine", flags);
    const next = flags.next === undefined ? of(name ?? "staged") : placeOf("next", flags);
    const isThat = flags.next === undefined && (name ?? "staged") === "staged";
    const strategy = flags.etcConflicts ?? strategyFor(isThat ? "staged" : "an image");
    return tellConflicts({ pristine, current, next }, flags, strategy);
  });
}

async function tellConflicts(
  places: EtcPlaces,
  flags: Flags,
  strategy: EtcStrategy,
): Promise<void> {
  const { linux } = await import("../linux.ts");
  const report = await plan(linux, places, strategy);
  if (flags.json) return printJson(report);
  const { conflicts } = report;
  process.stdout.write(conflicts.length === 0 ? "no conflicts\n" : conflictsTable(conflicts));
  warn(places.current.name, report);
  const open = conflicts.filter(({ resolution }) => resolution === "none").length;
  if (open > 0) {
    const hint = "--etc-conflicts=keep-local, take-image or merge decides";
    throw Object.assign(new Error(`${open} conflict(s) in /etc stop the merge`), { hint });
  }
}

async function merge(out: string, flags: MergeFlags & { readonly dryRun: boolean }): Promise<void> {
  const { linux } = await import("../linux.ts");
  const places = placesOf(flags);
  const strategy = flags.etcConflicts ?? "fail";
  const report = flags.dryRun
    ? await plan(linux, places, strategy)
    : await within(`merge into ${out}`, () => carryOut(linux, places, strategy, out));
  if (flags.json) return printJson(report);
  const { steps, conflicts } = report;
  const [title, none] = ["beside the new image's /etc:\n", "the new image's /etc as it is\n"];
  process.stdout.write(steps.length === 0 ? none : title + changesTable(steps));
  if (conflicts.length > 0) process.stdout.write(`\n${conflictsTable(conflicts)}`);
  warn(places.current.name, report);
}

/** The report of what would be done. */
async function plan(linux: Linux, places: EtcPlaces, strategy: EtcStrategy): Promise<EtcReport> {
  const { withEtcPlan } = await import("../deployment/etc/merge.ts");
  return within("plan the merge of /etc", () => withEtcPlan(linux, places, strategy, reportPlan));
}

async function carryOut(
  linux: Linux,
  places: EtcPlaces,
  strategy: EtcStrategy,
  out: string,
): Promise<EtcReport> {
  const { ASIDE, mergeEtcInto } = await import("../deployment/etc/merge.ts");
  const directory = linux.openat(AT_FDCWD, dirname(out), O_DIRECTORY | O_CLOEXEC);
  const name = basename(out);
  for (const taken of [name, `${name}${ASIDE}`]) {
    // one that a deployment has would be replaced; here it may be anybody's
    if (exists(linux, directory, taken)) throw new Error(`there already is ${taken}`);
  }
  return reportPlan(mergeEtcInto(linux, places, strategy, { directory, name }));
}

function exists(linux: Linux, directory: number, name: string): boolean {
  try {
    linux.statx(directory, name, AT_SYMLINK_NOFOLLOW);
    return true;
  } catch (error) {
    if (isErrno(error, "ENOENT")) return false;
    throw error;
  }
}

function changesTable(changes: readonly EtcChangeReport[]): string {
  const rows = changes.map(({ change, path, type, was, differs = [] }) => [
    change,
    was === undefined ? type : `${was} to ${type}`,
    path === "" ? "." : path,
    differs.filter((aspect) => aspect !== "type" && aspect !== "unreadable").join(", "),
  ]);
  return table([["CHANGE", "TYPE", "PATH", "DIFFERS"], ...rows]);
}

function conflictsTable(conflicts: readonly EtcConflictReport[]): string {
  const rows = conflicts.map(({ path, why, resolution, beside }) => [
    resolution,
    path === "" ? "." : path,
    beside === undefined ? why : `${why}: see ${beside}`,
  ]);
  return table([["KEPT", "PATH", "CONFLICT"], ...rows]);
}

/** What is not in the tables. */
function warn(where: string, { sockets, mounts }: Pick<EtcReport, "sockets" | "mounts">): void {
  const lines = [
    ...sockets.map((path) => `${where}/${path} is a socket and left out`),
    ...mounts.map((path) => `${where}/${path} is a mount, and what is beneath cannot be seen`),
  ];
  process.stderr.write(lines.map((line) => `cfsboot: warning: ${line}\n`).join(""));
}

function printJson(document: object): void {
  process.stdout.write(`${JSON.stringify(document, null, 2)}\n`);
}
