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

interface Flags extends MachineFlags {
  readonly dryRun: boolean;
}

export function register(program: Command): void {
  const command = program
    .command("delete")
    .description("remove a deployment, and then what no deployment needs any more")
    .argument("<deployment>", DEPLOYMENT_HELP)
    .addOption(dryRunOption())
    .action(remove);
  machineOptions(command);
  addExamples(command, "cfsboot delete 2", "cfsboot delete staged --dry-run");
}

async function remove(name: string, flags: Flags): Promise<void> {
  const { observe } = await import("../deployment/observe.ts");
  const { changeMenu } = await import("../deployment/change.ts");
  const { findDeployment, understand } = await import("../../src/model/deployments.ts");
  const { planDelete } = await import("../../src/model/menu-plan.ts");
  const { deploymentText, describeMenu } = await import("../../src/model/menu-text.ts");
  const { collectAndTell } = await import("./collect.ts");
  await withMachine(flags, flags.dryRun ? "look" : "change", async ({ host, repository }) => {
    const machine = understand(observe(host, repository).seen);
    const target = findDeployment(machine, name);
    const plan = planDelete(machine, target);
    if (flags.dryRun) {
      const lines = [...describeMenu(machine, plan), "remove what no deployment needs any more"];
      process.stdout.write(lines.map((line) => `${line}\n`).join(""));
      return;
    }
    changeMenu(host, machine, plan);
    // what comes after it has another index by now
    const now = understand(observe(host, repository).seen);
    process.stdout.write(`Deleted: ${deploymentText(now, target)}\n`);
    await collectAndTell(host, repository, { dryRun: false, json: false });
  });
}
