/** What `upgrade --dry-run` and `switch --dry-run` tell. They fetch nothing and write nothing. */
import type { Machine } from "../../src/model/deployments.ts";
import { planNew } from "../../src/model/menu-plan.ts";
import type { Step } from "../../src/model/steps.ts";
import { sourceOf } from "../deployment/references.ts";
import { requireRoom } from "../deployment/room.ts";
import { type BootImage, lookAtBootImage } from "../deployment/stage.ts";
import { downloadOf, planUpgrade, type RemoteImage } from "../deployment/upgrade.ts";
import { openImage, type StoredImage } from "../oci/image.ts";
import type { Repository } from "../repository/repository.ts";
import { awaitsReboot, without } from "./concerned.ts";
import type { OpenMachine } from "./machine.ts";
import type { Ending, Report } from "./report.ts";
import { carryOut, stagingWishOf, type Wish, warn } from "./staging-decision.ts";
import type { StagingFlags } from "./staging-options.ts";
import { gettingStep, remoteImageStatus, stagingSteps } from "./staging-steps.ts";

/**
 * Tells what would be done. Of an image that is in the repository all is checked that staging checks, and what would be an
 * error is one here; of another one that needs its content, which checks come after the fetch is told.
 */
export function preview(
  open: OpenMachine,
  machine: Machine,
  remote: RemoteImage,
  wish: Wish,
  flags: StagingFlags,
  report: Report,
): Ending {
  const { host, repository, etc, live } = open;
  if (!live && host.run === undefined) {
    throw new Error("nothing can be staged where no system runs");
  }
  const { source, follow } = wish;
  const { downloadOnly } = flags;
  const stored = storedImage(repository, remote);
  const wanted = stagingWishOf(host, etc, follow, flags);
  const tell = (...steps: readonly Step[]) => report.tell(steps, machine, []);
  if (stored === undefined) {
    const download = downloadOf(repository, remote);
    requireRoom(host, download);
    tell(gettingStep(source, remote, download));
    report.say([
      "check what only the content tells: whether it comes up, room on the boot partition, conflicts in /etc",
    ]);
    tell(
      { do: "stage", id: null, kernel: null, downloadOnly, follows: sourceOf(follow) },
      ...planNew(machine, "", wanted.keep).dropped.map(({ id }) => ({ do: "drop", id }) as const),
      { do: "collect" },
    );
    return ending(open, machine, null, remote, wish, flags);
  }
  const { image, boot } = stored;
  const twin = machine.deployments.find(({ id }) => id === boot.id);
  const decision = twin === undefined ? undefined : wish.decide(machine, twin);
  if (decision !== undefined && decision.do !== "stage") {
    return carryOut(open, machine, decision, wish, flags, report);
  }
  if (etc === undefined) throw new Error("nothing runs there: no /etc can be merged");
  const plan = planUpgrade(host, repository, machine, image, boot, etc, wanted);
  for (const { message } of plan.findings) warn(message);
  tell(gettingStep(source, remote, undefined), ...stagingSteps(plan, follow), { do: "collect" });
  return ending(open, machine, plan.id, remote, wish, flags);
}

function ending(
  { host }: OpenMachine,
  machine: Machine,
  id: string | null,
  remote: RemoteImage,
  { follow }: Wish,
  { downloadOnly }: StagingFlags,
): Ending {
  const { staged } = machine;
  const waits = awaitsReboot(host, staged === undefined ? machine : without(machine, staged));
  return {
    deployments: [{ id, slot: "staged", image: remoteImageStatus(remote, follow) }],
    rebootRequired: waits === null || downloadOnly ? waits : true,
  };
}

/** The image, if all of it is in the repository. */
function storedImage(
  repository: Repository,
  { manifestDigest }: RemoteImage,
): { readonly image: StoredImage; readonly boot: BootImage } | undefined {
  try {
    const image = openImage(repository, `@${manifestDigest}`);
    return { image, boot: lookAtBootImage(repository, image) };
  } catch {
    return undefined; // what is missing is fetched
  }
}
