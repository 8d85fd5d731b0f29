/** `cfsboot switch` */
import { type Command, Option } from "commander";
import { type OriginImage, TRANSPORTS, type Transport } from "../../src/formats/origin.ts";
import type { Deployment, Machine } from "../../src/model/deployments.ts";
import { UsageError } from "./errors.ts";
import { addExamples } from "./example.ts";
import { rebootAfter, withMachine } from "./machine.ts";
import { Report } from "./report.ts";
import { requireApplicable, type StagingFlags, stagingOptions } from "./staging-options.ts";

interface Flags extends StagingFlags {
  readonly transport?: Transport;
  readonly targetImgref?: string;
  readonly inPlace: boolean;
}

export function register(program: Command): void {
  const command = program
    .command("switch")
    .description("follow another image: fetch it and stage it")
    .argument("<image>", "a reference, docker://… or other, or a name of the --transport")
    .addOption(
      new Option("--transport <transport>", "what the name is of (default: registry)").choices(
        TRANSPORTS,
      ),
    )
    .option(
      "--target-imgref <image>",
      "follow this one: the image is fetched once from the other place",
    )
    .option("--in-place", "only let the deployment that has the image already follow it", false)
    .action(switchTo);
  stagingOptions(command);
  addExamples(
    command,
    "cfsboot switch quay.io/fedora/fedora-bootc:43",
    "cfsboot switch --json quay.io/fedora/fedora-bootc:43",
    "cfsboot switch --transport oci /srv/images/debian:14 --target-imgref quay.io/example/debian:14",
  );
}

async function switchTo(name: string, flags: Flags): Promise<void> {
  requireApplicable(flags);
  const apply = rebootAfter(flags);
  const { decideSwitch, followedDeployment, isUnchanged } = await import(
    "../../src/model/upgrade-decision.ts"
  );
  const { sourceOf } = await import("../deployment/references.ts");
  const { follow } = await import("./staging.ts");
  const { mend } = await import("./mend.ts");
  const { awaitsReboot, concerned } = await import("./concerned.ts");
  const source = await target(name, flags.transport);
  const followed =
    flags.targetImgref === undefined ? source : await target(flags.targetImgref, undefined);
  await withMachine(flags, flags.dryRun ? "look" : "change", async (open) => {
    const report = new Report(flags);
    const machine = mend(open, flags.dryRun ? "tell" : "write", report);
    if (isUnchanged(machine, followed) && flags.targetImgref === undefined) {
      report.say([`The machine follows ${sourceOf(followed)} already`]);
      const ending = {
        deployments: concerned(open, followedDeployment(machine)!),
        rebootRequired: awaitsReboot(open.host, machine),
        apply: machine.staged !== undefined && !machine.staged.downloadOnly,
      };
      return report.end(ending, apply);
    }
    const { inPlace, downloadOnly } = flags;
    const wish = {
      source,
      follow: followed,
      decide: (now: Machine, twin: Deployment | undefined) =>
        decideSwitch(now, twin, { inPlace, downloadOnly }),
    };
    return report.end(await follow(open, machine, wish, flags, report), apply);
  });
}

/** What the user typed is wrong, if it is no reference. */
async function target(text: string, transport: Transport | undefined): Promise<OriginImage> {
  const { parseTarget } = await import("../deployment/references.ts");
  try {
    return parseTarget(text, transport);
  } catch (error) {
    const { message, cause } = error as Error;
    throw new UsageError(message, { cause });
  }
}
