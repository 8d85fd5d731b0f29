/** `cfsboot finalize-staged` */
import type { Command } from "commander";
import { describeError } from "./errors.ts";
import { addExamples } from "./example.ts";
import { dryRunOption, type MachineFlags, machineOptions, withMachine } from "./machine.ts";

interface Flags extends MachineFlags {
  readonly dryRun: boolean;
}

export function register(program: Command): void {
  const command = program
    .command("finalize-staged")
    .description("put what is staged in place of what runs; systemd does it at shutdown")
    .addOption(dryRunOption())
    .action(finalizeStaged);
  machineOptions(command);
  addExamples(command, "cfsboot finalize-staged");
}

async function finalizeStaged(flags: Flags): Promise<void> {
  await withMachine(flags, flags.dryRun ? "look" : "change", async ({ host, repository, etc }) => {
    const { observe } = await import("../deployment/observe.ts");
    const { finalize } = await import("../deployment/finalize.ts");
    const { readConf } = await import("../deployment/conf.ts");
    const { understand } = await import("../../src/model/deployments.ts");
    if (etc === undefined) throw new Error("nothing runs there: no /etc can be merged");
    const { staged } = understand(observe(host, repository).seen);
    const options = {
      etc,
      // read when it is needed: what is wrong with the file is why it failed, and is told in the next boot
      get strategy() {
        return staged?.state?.origin?.etcConflicts ?? readConf(host.linux, etc).etcConflicts;
      },
    };
    if (flags.dryRun) {
      const lines =
        staged === undefined || staged.downloadOnly
          ? ["nothing is staged that could take over"]
          : [
              `merge ${etc.name} into that of ${staged.id.slice(0, 12)} (conflicts: ${options.strategy})`,
              "put the staged boot menu in place of the present one",
            ];
      process.stdout.write(lines.map((line) => `${line}\n`).join(""));
      return;
    }
    const result = finalize(host, repository, options);
    if (!result.done) {
      process.stdout.write(`Nothing to do: ${result.why}\n`);
      return;
    }
    process.stdout.write(`Next boot: ${result.id.slice(0, 12)}\n`);
    try {
      const { collectBootFiles, planCollection } = await import("../deployment/gc.ts");
      const machine = understand(observe(host, repository).seen);
      collectBootFiles(host, repository, planCollection(repository, machine));
    } catch (error) {
      // the update is in place: what is left over can go another time
      process.stderr.write(`cfsboot: warning: ${describeError(error).message}\n`);
    }
  });
}
