/** `cfsboot delete` */
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

export function register(program: Command): void {
  const command = program
    .command("delete")
    .description("remove a deployment, and then what no deployment needs any more")
    .argument("<deployment>", DEPLOYMENT_HELP)
    .addOption(dryRunOption())
    .addOption(jsonOption())
    .action(remove);
  machineOptions(command);
  addExamples(command, "cfsboot delete 2", "cfsboot delete staged --dry-run --json");
}

async function remove(name: string, flags: Flags): Promise<void> {
  const { observe } = await import("../deployment/observe.ts");
  const { changeMenu } = await import("../deployment/change.ts");
  const { findDeployment, understand } = await import("../../src/model/deployments.ts");
  const { planDelete } = await import("../../src/model/menu-plan.ts");
  const { deploymentText } = await import("../../src/model/menu-text.ts");
  const { menuSteps } = await import("../../src/model/steps.ts");
  const { collectAndTell } = await import("./collect.ts");
  const { awaitsReboot, concerned, without } = await import("./concerned.ts");
  await withMachine(flags, flags.dryRun ? "look" : "change", async (open) => {
    const { host, repository } = open;
    const report = new Report(flags);
    const machine = understand(observe(host, repository).seen);
    const target = findDeployment(machine, name);
    const plan = planDelete(machine, target);
    const ending = {
      deployments: concerned(open, target),
      rebootRequired: awaitsReboot(host, without(machine, target)),
    };
    if (flags.dryRun) {
      report.tell([...menuSteps(plan), { do: "collect" }], machine, []);
      return report.end(ending);
    }
    changeMenu(host, machine, plan);
    // what comes after it has another index by now
    const now = understand(observe(host, repository).seen);
    report.tell(menuSteps(plan), machine, [`Deleted: ${deploymentText(now, target)}`]);
    await collectAndTell(host, repository, flags, report);
    return report.end(ending);
  });
}
