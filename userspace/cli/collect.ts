/** `cfsboot gc` */
import type { Command } from "commander";
import { understand } from "../../src/model/deployments.ts";
import {
  collect,
  describeCollection,
  planCollection,
  previewCollection,
} from "../deployment/gc.ts";
import type { Host } from "../deployment/host.ts";
import { observe } from "../deployment/observe.ts";
import type { Repository } from "../repository/repository.ts";
import { addExamples } from "./example.ts";
import { gcJson, gcText } from "./gc.ts";
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
  await withMachine(flags, flags.dryRun ? "look" : "change", ({ host, repository }) => {
    if (flags.dryRun) preview(host, repository, flags.json);
    else collectAndTell(host, repository, flags.json);
  });
}

/** Collects garbage and prints what that was. */
export function collectAndTell(host: Host, repository: Repository, json: boolean): void {
  const steps = stepsOf(host, repository);
  const result = collect(host, repository, waiting(repository.path));
  process.stdout.write(
    json ? gcJson(result, false, { steps }) : lines(steps) + gcText(result, false),
  );
}

function preview(host: Host, repository: Repository, json: boolean): void {
  const steps = stepsOf(host, repository);
  const result = previewCollection(host, repository, waiting(repository.path));
  process.stdout.write(
    json ? gcJson(result, true, { steps }) : lines(steps) + gcText(result, true),
  );
}

function stepsOf(host: Host, repository: Repository): string[] {
  return describeCollection(planCollection(repository, understand(observe(host, repository).seen)));
}

function lines(steps: readonly string[]): string {
  return steps.map((step) => `${step}\n`).join("");
}
