/** `cfsboot karg` */
import type { Command } from "commander";
import type { KargEdit } from "../../src/model/local-kargs.ts";
import { UsageError } from "./errors.ts";
import { addExamples } from "./example.ts";
import {
  DEPLOYMENT_HELP,
  dryRunOption,
  type MachineFlags,
  machineOptions,
  rebootAfter,
  withMachine,
} from "./machine.ts";
import { jsonOption, Report, type ReportFlags } from "./report.ts";

interface ListFlags extends MachineFlags {
  readonly json: boolean;
}

interface EditFlags extends MachineFlags, ReportFlags {
  readonly apply: boolean;
}

type Edit = KargEdit["edit"];

export function register(program: Command): void {
  const karg = program
    .command("karg")
    .description("kernel arguments of the machine's own, which upgrades carry on");
  const list = karg
    .command("list")
    .description("list a deployment's kernel arguments by where they come from")
    .argument("[deployment]", `${DEPLOYMENT_HELP} (default: what is booted next)`)
    .option("--json", "print JSON", false)
    .action(listKargs);
  machineOptions(list);
  addExamples(list, "cfsboot karg list", "cfsboot karg list rollback --json");
  registerEdit(karg, "add", "add arguments, unless they are there", "console=ttyS0 quiet");
  registerEdit(karg, "delete", "take arguments away; a name alone: all of that name", "quiet");
  registerEdit(karg, "replace", "put arguments in place of those of the same name", "loglevel=7");
}

function registerEdit(karg: Command, edit: Edit, description: string, example: string): void {
  const command = karg
    .command(edit)
    .description(description)
    .argument("<argument...>", "NAME or NAME=VALUE")
    .option("--apply", "reboot", false)
    .addOption(dryRunOption())
    .addOption(jsonOption())
    .action((args: readonly string[], flags: EditFlags) => change(edit, args, flags));
  machineOptions(command);
  addExamples(
    command,
    `cfsboot karg ${edit} ${example}`,
    `cfsboot karg ${edit} --dry-run --json ${example}`,
  );
}

async function listKargs(name: string | undefined, flags: ListFlags): Promise<void> {
  const { observe } = await import("../deployment/observe.ts");
  const { kargsOf, readImageTree } = await import("../deployment/image-facts.ts");
  const { openImage } = await import("../oci/image.ts");
  const { currentPlatform } = await import("../oci/platform.ts");
  const { findDeployment, understand } = await import("../../src/model/deployments.ts");
  const { nextDeployment } = await import("../../src/model/host-status.ts");
  const { kargSources } = await import("../../src/model/local-kargs.ts");
  await withMachine(flags, "look", ({ host, repository }) => {
    const machine = understand(observe(host, repository).seen);
    const found = name === undefined ? nextDeployment(machine) : findDeployment(machine, name);
    if (found === undefined) throw new Error("there is no deployment");
    const origin = found.state?.origin;
    const digest = origin?.manifestDigest;
    const architecture =
      (digest === undefined
        ? undefined
        : openImage(repository, `@${digest}`).config.document?.architecture) ??
      currentPlatform().architecture;
    const image = kargsOf(repository, readImageTree(repository, found.id), architecture);
    const sources = kargSources(
      found.entry.bls.options ?? "",
      image,
      origin?.kargs ?? { added: [], deleted: [] },
    );
    if (flags.json) {
      process.stdout.write(`${JSON.stringify({ deployment: found.id, ...sources })}\n`);
      return;
    }
    const rows: [string, readonly string[]][] = [
      ["image", sources.image],
      ["local", sources.local],
      ["other", sources.other],
      ["deleted", sources.deleted],
    ];
    const lines = rows.flatMap(([title, kargs]) =>
      kargs.map((one) => `${title.padEnd("deleted".length)}  ${one}\n`),
    );
    process.stdout.write(lines.join(""));
  });
}

async function change(edit: Edit, args: readonly string[], flags: EditFlags): Promise<void> {
  const apply = rebootAfter(flags);
  const { observe } = await import("../deployment/observe.ts");
  const { changeKargs, planKargs } = await import("../deployment/karg.ts");
  const { parseKargs } = await import("../../src/formats/kargs.ts");
  const { understand } = await import("../../src/model/deployments.ts");
  const { kargTargets } = await import("../../src/model/local-kargs.ts");
  const { stepText } = await import("../../src/model/steps.ts");
  const { awaitsReboot, concerned } = await import("./concerned.ts");
  const edits = usage(() => args.flatMap(parseKargs)).map((karg): KargEdit => ({ edit, karg }));
  await withMachine(flags, flags.dryRun ? "look" : "change", async (open) => {
    const { host, repository } = open;
    const report = new Report(flags);
    const { seen } = observe(host, repository);
    const machine = understand(seen);
    const targets = kargTargets(machine);
    if (targets.length === 0) throw new Error("there is no deployment");
    const plan = planKargs(targets, edits);
    if (!flags.dryRun) changeKargs(host, seen, plan);
    let changed = false;
    for (const { id, options } of plan) {
      const step = { do: "set-options", id, options } as const;
      const same = targets.find((target) => target.id === id)!.entry.bls.options === options;
      report.note(same ? [] : [step]);
      report.say([`${stepText(step, machine)}${same ? " (as they were)" : ""}`]);
      changed ||= !same;
    }
    const waits = awaitsReboot(host, machine);
    const ending = {
      deployments: concerned(open, ...targets),
      rebootRequired: waits === null ? null : waits || changed,
      apply: true,
    };
    return report.end(ending, apply);
  });
}

/** What the user typed is wrong, if `parse` throws. */
function usage<T>(parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}
