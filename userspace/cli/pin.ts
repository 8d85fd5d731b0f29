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

interface Flags extends MachineFlags {
  readonly dryRun: boolean;
}

export function registerPin(program: Command): void {
  const command = program
    .command("pin")
    .description("keep a deployment, however many come after it")
    .argument("<deployment...>", DEPLOYMENT_HELP)
    .addOption(dryRunOption())
    .action((names: readonly string[], flags: Flags) => setAll(names, flags, true));
  machineOptions(command);
  addExamples(command, "cfsboot pin booted");
}

export function registerUnpin(program: Command): void {
  const command = program
    .command("unpin")
    .description("let a deployment go when newer ones need its place")
    .argument("<deployment...>", DEPLOYMENT_HELP)
    .addOption(dryRunOption())
    .action((names: readonly string[], flags: Flags) => setAll(names, flags, false));
  machineOptions(command);
  addExamples(command, "cfsboot unpin 2");
}

async function setAll(names: readonly string[], flags: Flags, pinned: boolean): Promise<void> {
  const { observe } = await import("../deployment/observe.ts");
  const { setPinned } = await import("../deployment/change.ts");
  const { findDeployment, understand } = await import("../../src/model/deployments.ts");
  const { deploymentText } = await import("../../src/model/menu-text.ts");
  await withMachine(flags, flags.dryRun ? "look" : "change", ({ host, repository }) => {
    const machine = understand(observe(host, repository).seen);
    const found = names.map((name) => findDeployment(machine, name));
    for (const one of found) {
      const name = deploymentText(machine, one);
      if (flags.dryRun) {
        process.stdout.write(`${pinned ? "pin" : "unpin"} the deployment ${name}\n`);
        continue;
      }
      setPinned(host, one, pinned);
      process.stdout.write(`${pinned ? "Pinned" : "Unpinned"}: ${name}\n`);
    }
  });
}
