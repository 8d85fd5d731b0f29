/** `cfsboot boot-complete` */
import type { Command } from "commander";
import { addExamples } from "./example.ts";
import { dryRunOption, type MachineFlags, machineOptions, withMachine } from "./machine.ts";

interface Flags extends MachineFlags {
  readonly dryRun: boolean;
}

export function register(program: Command): void {
  const command = program
    .command("boot-complete")
    .description(
      "the machine has come up: end the counting of its boots, and tell what became of the last update",
    )
    .addOption(dryRunOption())
    .action(bootComplete);
  machineOptions(command);
  addExamples(command, "cfsboot boot-complete");
}

async function bootComplete(flags: Flags): Promise<void> {
  const { bless, blessSteps } = await import("../deployment/bless.ts");
  const { observe } = await import("../deployment/observe.ts");
  const { readUpdateRecord } = await import("../deployment/outcome.ts");
  const { understand } = await import("../../src/model/deployments.ts");
  const { updateTrouble } = await import("../../src/model/update-outcome.ts");
  const { HintedError } = await import("../../src/linux/hint.ts");
  const { steps, live } = await withMachine(flags, "look", ({ host, live }) => ({
    steps: blessSteps(host),
    live,
  }));
  if (flags.dryRun) {
    process.stdout.write(steps.map((step) => `${step}\n`).join(""));
    return;
  }
  if (steps.length > 0) {
    if (live) await requireGood();
    await withMachine(flags, "change", ({ host, repository }) => bless(host, repository));
  }
  const { trouble, name } = await withMachine(flags, "look", ({ host, repository }) => {
    const machine = understand(observe(host, repository).seen);
    const found = updateTrouble(readUpdateRecord(host), machine, host.bootId);
    return { trouble: found, name: host.running?.id.slice(0, 12) };
  });
  if (steps.length > 0) {
    const text =
      trouble === undefined
        ? "The machine has come up: its boots are counted no longer"
        : `The machine has come up with ${name}, not with the update`;
    process.stdout.write(`${text}\n`);
  }
  if (trouble !== undefined) throw new HintedError(trouble.message, trouble.hint);
}

async function requireGood(): Promise<void> {
  const { requireBootComplete } = await import("../deployment/units.ts");
  const { HintedError } = await import("../../src/linux/hint.ts");
  try {
    requireBootComplete();
  } catch (error) {
    throw new HintedError(
      "this boot is not counted as good",
      "systemctl list-dependencies boot-complete.target shows what it waits for",
      { cause: error },
    );
  }
}
