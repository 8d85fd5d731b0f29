/** What `upgrade` and `switch` do that needs nothing fetched, and how they tell it. */
import type { OriginImage } from "../../src/formats/origin.ts";
import type { Deployment, Machine } from "../../src/model/deployments.ts";
import { deploymentText } from "../../src/model/menu-text.ts";
import type { Decision, SettledDecision } from "../../src/model/upgrade-decision.ts";
import { type MachineEtc, readConf } from "../deployment/conf.ts";
import type { Host } from "../deployment/host.ts";
import { originFollowing } from "../deployment/lost-origins.ts";
import { sourceOf } from "../deployment/references.ts";
import { unlock } from "../deployment/stage.ts";
import { writeOrigin } from "../deployment/state.ts";
import { armFinalize } from "../deployment/units.ts";
import type { StagingWish } from "../deployment/upgrade.ts";
import { awaitsReboot, concerned } from "./concerned.ts";
import type { OpenMachine } from "./machine.ts";
import type { Ending, Report } from "./report.ts";
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
export function carryOut(
  open: OpenMachine,
  machine: Machine,
  decision: SettledDecision,
  { follow }: Pick<Wish, "follow">,
  { dryRun }: Pick<StagingFlags, "dryRun">,
  report: Report,
): Ending {
  const { host, repository, live } = open;
  const { deployment } = decision;
  const { id } = deployment;
  const name = deploymentText(machine, deployment);
  switch (decision.do) {
    case "nothing":
      report.say([`No changes in ${sourceOf(follow)}: ${decision.why}`]);
      return {
        deployments: concerned(open, deployment),
        rebootRequired: awaitsReboot(host, machine),
        apply: decision.pending,
      };
    case "unlock": {
      if (!dryRun) {
        if (live) armFinalize(warn);
        unlock(host, id);
      }
      report.tell([{ do: "unlock", id }], machine, [`Next boot: ${name}`]);
      const unlocked = { ...machine, staged: { ...deployment, downloadOnly: false } };
      return {
        deployments: concerned(open, deployment),
        rebootRequired: awaitsReboot(host, unlocked),
        apply: true,
      };
    }
    case "adopt": {
      const origin = originFollowing(repository, deployment, follow);
      if (!dryRun) writeOrigin(host, id, origin);
      const follows = sourceOf(follow);
      report.tell([{ do: "adopt", id, follows }], machine, [`${name} follows ${follows}`]);
      return {
        deployments: concerned(open, { ...deployment, state: { id, origin, problems: [] } }),
        rebootRequired: awaitsReboot(host, machine),
      };
    }
  }
}

/** Warns. */
export function warn(text: string): void {
  process.stderr.write(`cfsboot: warning: ${text}\n`);
}
