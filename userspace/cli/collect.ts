/** `cfsboot gc` */
import type { Command } from "commander";
import type { Machine } from "../../src/model/deployments.ts";
import type { GarbageStep, UntoldStep } from "../../src/model/steps.ts";
import type { Host } from "../deployment/host.ts";
import type { GcResult } from "../repository/gc.ts";
import type { Repository } from "../repository/repository.ts";
import { addExamples } from "./example.ts";
import { gcText, warnOf } from "./gc.ts";
import { dryRunOption, type MachineFlags, machineOptions, withMachine } from "./machine.ts";
import { jsonOption, Report, type ReportFlags } from "./report.ts";
import { waiting } from "./repository.ts";

type Flags = MachineFlags & ReportFlags;

export function register(program: Command): void {
  const command = program
    .command("gc")
    .description("remove what no deployment needs: kernels, states, images and their objects")
    .addOption(dryRunOption())
    .addOption(jsonOption())
    .action(gc);
  machineOptions(command);
  addExamples(command, "cfsboot gc --dry-run", "cfsboot gc", "cfsboot gc --json");
}

async function gc(flags: Flags): Promise<void> {
  await withMachine(flags, flags.dryRun ? "look" : "change", async ({ host, repository }) => {
    const report = new Report(flags);
    await collectAndTell(host, repository, flags, report);
    await report.end({});
  });
}

/** Collects garbage, or with `dryRun` finds it, and prints what that is. */
export async function collectAndTell(
  host: Host,
  repository: Repository,
  { dryRun }: { readonly dryRun: boolean },
  report: Report,
): Promise<void> {
  const { collect, keptSteps, previewCollection } = await import("../deployment/gc.ts");
  const { observe } = await import("../deployment/observe.ts");
  const { stepText } = await import("../../src/model/steps.ts");
  const { understand } = await import("../../src/model/deployments.ts");
  const sight = observe(host, repository);
  const machine = understand(sight.seen);
  const steps = await garbageSteps(host, repository, machine, dryRun);
  steps.push(...keptSteps(sight));
  const result = dryRun
    ? previewCollection(host, repository, waiting(repository.path))
    : collect(host, repository, waiting(repository.path), warnOf);
  report.note([...steps, ...objectsSteps(result)]);
  report.say(steps.map((step) => stepText(step, machine)));
  report.say(gcText(result, dryRun).trimEnd().split("\n"));
}

/** What goes, but objects of the repository. What cannot be told is a warning where nothing is removed, which warns, too. */
export async function garbageSteps(
  host: Host,
  repository: Repository,
  machine: Machine,
  dryRun: boolean,
): Promise<GarbageStep[]> {
  const { collectionSteps, planCollection } = await import("../deployment/gc.ts");
  const { planStorage } = await import("../deployment/containers-storage.ts");
  const { containerText } = await import("../../src/model/storage-prune.ts");
  const steps = collectionSteps(planCollection(repository, machine));
  try {
    for (const image of planStorage(host, repository, machine)) {
      steps.push({ do: "remove-container", image: containerText(image) });
    }
  } catch (error) {
    if (dryRun) warnOf(error);
  }
  return steps;
}

/** What went of the repository's objects, if anything did. */
export function objectsSteps(result: GcResult): UntoldStep[] {
  const { objectsRemoved, objectsBytes, imagesPruned, streamsPruned } = result;
  if (objectsRemoved + imagesPruned + streamsPruned === 0) return [];
  const gone = { objects: objectsRemoved, bytes: objectsBytes };
  return [{ do: "remove-objects", ...gone, images: imagesPruned, streams: streamsPruned }];
}
