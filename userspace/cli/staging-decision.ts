/** What `upgrade` and `switch` do that needs nothing fetched, and how they tell it. */
import { type OriginImage, setOriginImage } from "../../src/formats/origin.ts";
import type { Deployment, Machine } from "../../src/model/deployments.ts";
import { deploymentText } from "../../src/model/menu-text.ts";
import type { Decision } from "../../src/model/upgrade-decision.ts";
import { type MachineEtc, readConf } from "../deployment/conf.ts";
import type { Host } from "../deployment/host.ts";
import { sourceOf } from "../deployment/references.ts";
import { unlock } from "../deployment/stage.ts";
import { writeOrigin } from "../deployment/state.ts";
import { armFinalize } from "../deployment/units.ts";
import type { StagingWish } from "../deployment/upgrade.ts";
import type { OpenMachine } from "./machine.ts";
import type { StagingFlags } from "./staging-options.ts";

/** What is to become of an image. */
export interface Wish {
  /** Where the image comes from now. */
  readonly source: OriginImage;
  /** What the deployment follows. */
  readonly follow: OriginImage;
  readonly decide: (machine: Machine, twin: Deployment | undefined) => Decision;
}

/** What options and configuration ask for. */
export function stagingWishOf(
  { linux }: Host,
  etc: MachineEtc | undefined,
  reference: OriginImage,
  flags: StagingFlags,
): StagingWish {
  const conf = readConf(linux, etc);
  return {
    reference,
    keep: flags.keep ?? conf.keep,
    counted: conf.countBoots,
    locked: flags.downloadOnly,
    force: flags.force,
    etcConflicts: {
      strategy: flags.etcConflicts ?? conf.etcConflicts,
      chosen: flags.etcConflicts !== undefined,
    },
  };
}

/** Everything that needs nothing fetched. */
export async function carryOut(
  { host, live }: OpenMachine,
  machine: Machine,
  decision: Exclude<Decision, { do: "stage" }> | Decision,
  { follow }: Pick<Wish, "follow">,
  flags: Pick<StagingFlags, "dryRun">,
  apply: () => Promise<void>,
): Promise<void> {
  switch (decision.do) {
    case "nothing":
      print([`No changes in ${sourceOf(follow)}: ${decision.why}`]);
      if (decision.pending && !flags.dryRun) await apply();
      return;
    case "unlock": {
      const name = deploymentText(machine, decision.deployment);
      if (flags.dryRun) return print([`unlock ${name}`]);
      if (live) armFinalize(warn);
      unlock(host, decision.deployment.id);
      print([`Next boot: ${name}`]);
      return apply();
    }
    case "adopt": {
      const { deployment } = decision;
      const line = `${deploymentText(machine, deployment)} follows ${sourceOf(follow)}`;
      if (flags.dryRun) return print([`make it so that ${line}`]);
      const origin = deployment.state?.origin;
      if (origin === undefined) throw new Error(`${deployment.id} has no origin file`);
      // what it was made of is in the repository, and stays what it is known by
      writeOrigin(host, deployment.id, setOriginImage(origin, follow));
      return print([line]);
    }
    case "stage":
      throw new Error("nothing was fetched");
  }
}

/** Prints lines. */
export function print(lines: readonly string[]): void {
  process.stdout.write(lines.map((line) => `${line}\n`).join(""));
}

/** Warns. */
export function warn(text: string): void {
  process.stderr.write(`cfsboot: warning: ${text}\n`);
}
