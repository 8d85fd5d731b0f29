/** The options that `upgrade` and `switch` share. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { MAX_KEEP } from "../../src/formats/cfsboot-conf.ts";
import { ETC_STRATEGIES, type EtcStrategy } from "../../src/model/etc/merge.ts";
import { UsageError } from "./errors.ts";
import { dryRunOption, type MachineFlags, machineOptions } from "./machine.ts";
import { type RegistryFlags, registryOptions } from "./pull.ts";
import { jsonOption } from "./report.ts";

export interface StagingFlags extends MachineFlags, RegistryFlags {
  readonly apply: boolean;
  readonly downloadOnly: boolean;
  readonly dryRun: boolean;
  readonly json: boolean;
  readonly force: boolean;
  readonly quiet: boolean;
  readonly progressFd?: number;
  readonly etcConflicts?: EtcStrategy;
  readonly keep?: number;
}

/** Adds the options of `StagingFlags`. */
export function stagingOptions(command: Command): Command {
  command
    .option("--apply", "reboot into it once it is staged", false)
    .option("--download-only", "stage it locked: it takes over when it is unlocked", false)
    .option("--force", "stage it even if checks say that it would not come up", false)
    .option("--quiet", "show no progress", false)
    .addOption(
      new Option(
        "--progress-fd <number>",
        "write progress as JSON lines to this open pipe",
      ).argParser(parseNumber),
    )
    .addOption(
      new Option(
        "--etc-conflicts <strategy>",
        "what to do where machine and image both changed /etc (default: as configured)",
      ).choices(ETC_STRATEGIES),
    )
    .addOption(
      new Option(
        "--keep <number>",
        "how many deployments there shall be, besides pinned ones (default: as configured)",
      ).argParser(parseKeep),
    )
    .addOption(dryRunOption())
    .addOption(jsonOption());
  return machineOptions(registryOptions(command));
}

/** Throws if what is only to be downloaded shall be booted at once. */
export function requireApplicable({ downloadOnly, apply }: StagingFlags): void {
  if (downloadOnly && apply) throw new UsageError("--download-only cannot be with --apply");
}

function parseNumber(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new InvalidArgumentError("expected a number.");
  return Number(text);
}

function parseKeep(text: string): number {
  const keep = parseNumber(text);
  if (keep < 2 || keep > MAX_KEEP) throw new InvalidArgumentError(`expected 2 to ${MAX_KEEP}.`);
  return keep;
}
