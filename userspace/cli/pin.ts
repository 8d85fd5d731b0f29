/** `cfsboot pin` and `cfsboot unpin` */
import type { Command } from "commander";
import { addExamples } from "./example.ts";
import {
  DEPLOYMENT_HELP,
  dryRunOption,
  type MachineFlags,
  machineOptions,
  withMachine,
} from "./machine.ts";
import { jsonOption, Report, type ReportFlags } from "./report.ts";

type Flags = MachineFlags & ReportFlags;

export function registerPin(program: Command): void {
  const command = program
    .command("pin")
    .description("keep a deployment, however many come after it")
    .argument("<deployment...>", DEPLOYMENT_HELP)
    .addOption(dryRunOption())
    .addOption(jsonOption())
    .action((names: readonly string[], flags: Flags) => setAll(names, flags, true));
  machineOptions(command);
  addExamples(command, "cfsboot pin booted", "cfsboot pin booted rollback --json");
}

export function registerUnpin(program: Command): void {
  const command = program
    .command("unpin")
    .description("let a deployment go when newer ones need its place")
    .argument("<deployment...>", DEPLOYMENT_HELP)
    .addOption(dryRunOption())
    .addOption(jsonOption())
    .action((names: readonly string[], flags: Flags) => setAll(names, flags, false));
  machineOptions(command);
  addExamples(command, "cfsboot unpin 2", "cfsboot unpin 2 --json");
}

async function setAll(names: readonly string[], flags: Flags, pinned: boolean): Promise<void> {
  const { observe } = await import("../deployment/observe.ts");
  const { setPinned } = await import("../deployment/change.ts");
  const { findDeployment, understand } = await import("../../src/model/deployments.ts");
  const { deploymentText } = await import("../../src/model/menu-text.ts");
  const { stepText } = await import("../../src/model/steps.ts");
  const { concerned } = await import("./concerned.ts");
  await withMachine(flags, flags.dryRun ? "look" : "change", (open) => {
    const { host, repository } = open;
    const report = new Report(flags);
    const machine = understand(observe(host, repository).seen);
    const found = [...new Set(names.map((name) => findDeployment(machine, name)))];
    for (const one of found) {
      const step = { do: pinned ? "pin" : "unpin", id: one.id } as const;
      if (!flags.dryRun) setPinned(host, one, pinned);
      report.note(one.pinned === pinned ? [] : [step]);
      const done = `${pinned ? "Pinned" : "Unpinned"}: ${deploymentText(machine, one)}`;
      report.say([flags.dryRun ? stepText(step, machine) : done]);
    }
    return report.end({ deployments: concerned(open, ...found) });
  });
}
