/** `cfsboot gc` */
import type { Command } from "commander";
import type { Host } from "../deployment/host.ts";
import type { Repository } from "../repository/repository.ts";
import { addExamples } from "./example.ts";
import { gcJson, gcText, warnOf } from "./gc.ts";
import { dryRunOption, type MachineFlags, machineOptions, withMachine } from "./machine.ts";
import { waiting } from "./repository.ts";

interface Flags extends MachineFlags {
  readonly dryRun: boolean;
  readonly json: boolean;
}

export function register(program: Command): void {
  const command = program
    .command("gc")
    .description("remove what no deployment needs: kernels, states, images and their objects")
    .addOption(dryRunOption())
    .option("--json", "print JSON", false)
    .action(gc);
  machineOptions(command);
  addExamples(command, "cfsboot gc --dry-run", "cfsboot gc");
}

async function gc(flags: Flags): Promise<void> {
  await withMachine(flags, flags.dryRun ? "look" : "change", ({ host, repository }) =>
    collectAndTell(host, repository, flags),
  );
}

/** Collects garbage, or with `dryRun` finds it, and prints what that is. */
export async function collectAndTell(
  host: Host,
  repository: Repository,
  { dryRun, json }: { readonly dryRun: boolean; readonly json: boolean },
): Promise<void> {
  const { collect, describeCollection, planCollection, previewCollection } = await import(
    "../deployment/gc.ts"
  );
  const { planStorage } = await import("../deployment/containers-storage.ts");
  const { observe } = await import("../deployment/observe.ts");
  const { containerText } = await import("../../src/model/storage-prune.ts");
  const { understand } = await import("../../src/model/deployments.ts");
  const machine = understand(observe(host, repository).seen);
  const steps = describeCollection(planCollection(repository, machine));
  try {
    for (const image of planStorage(host, repository, machine)) {
      steps.push(`remove image ${containerText(image)} from bootc's containers-storage`);
    }
  } catch (error) {
    if (dryRun) warnOf(error);
  }
  const result = dryRun
    ? previewCollection(host, repository, waiting(repository.path))
    : collect(host, repository, waiting(repository.path), warnOf);
  const lines = steps.map((step) => `${step}\n`).join("");
  const text = json ? gcJson(result, dryRun, { steps }) : lines + gcText(result, dryRun);
  process.stdout.write(text);
}
