/** What `upgrade --dry-run` and `switch --dry-run` tell. They fetch nothing and write nothing. */
import type { Deployment, Machine } from "../../src/model/deployments.ts";
import { planNew } from "../../src/model/menu-plan.ts";
import { deploymentText } from "../../src/model/menu-text.ts";
import { megabytes } from "../../src/model/size-text.ts";
import { sourceOf } from "../deployment/references.ts";
import { requireRoom } from "../deployment/room.ts";
import { type BootImage, lookAtBootImage } from "../deployment/stage.ts";
import { downloadOf, planUpgrade, type RemoteImage } from "../deployment/upgrade.ts";
import { openImage, type StoredImage } from "../oci/image.ts";
import type { Repository } from "../repository/repository.ts";
import type { OpenMachine } from "./machine.ts";
import { carryOut, print, stagingWishOf, type Wish, warn } from "./staging-decision.ts";
import type { StagingFlags } from "./staging-options.ts";

/**
 * Tells what would be done. Of an image that is in the repository all is checked that staging checks, and what would be an
 * error is one here; of another one that needs its content, which checks come after the fetch is told.
 */
export async function preview(
  open: OpenMachine,
  machine: Machine,
  remote: RemoteImage,
  wish: Wish,
  flags: StagingFlags,
  apply: () => Promise<void>,
): Promise<void> {
  const { host, repository, etc, live } = open;
  if (!live && host.run === undefined) {
    throw new Error("nothing can be staged where no system runs");
  }
  const stored = storedImage(repository, remote);
  const wanted = stagingWishOf(host, etc, wish.follow, flags);
  const follows = `it follows ${sourceOf(wish.follow)}`;
  const locked = flags.downloadOnly ? ", locked" : "";
  if (stored === undefined) {
    const download = downloadOf(repository, remote);
    requireRoom(host, download);
    const { layers, all, bytes } = download;
    const { dropped } = planNew(machine, "", wanted.keep);
    return print([
      `fetch ${sourceOf(wish.source)} (${remote.manifestDigest}): ${layers} of ${all} layers, ${megabytes(bytes)}`,
      "check what only the content tells: whether it comes up, room on the boot partition, conflicts in /etc",
      `stage it${locked}; ${follows}`,
      ...ending(machine, dropped),
    ]);
  }
  const { image, boot } = stored;
  const twin = machine.deployments.find(({ id }) => id === boot.id);
  const decision = twin === undefined ? undefined : wish.decide(machine, twin);
  if (decision !== undefined && decision.do !== "stage") {
    return carryOut(open, machine, decision, wish, flags, apply);
  }
  if (etc === undefined) throw new Error("nothing runs there: no /etc can be merged");
  const plan = planUpgrade(host, repository, machine, image, boot, etc, wanted);
  for (const { message } of plan.findings) warn(message);
  print([
    `take ${sourceOf(wish.source)} (${remote.manifestDigest}) from the repository`,
    ...plan.gone.map(
      (one) => `delete the deployment ${deploymentText(machine, one)}, to make room`,
    ),
    `stage it as ${plan.id.slice(0, 12)}${locked}, with kernel ${plan.kernel.release}; ${follows}`,
    ...ending(machine, plan.menu.dropped),
  ]);
}

function ending(machine: Machine, dropped: readonly Deployment[]): string[] {
  return [
    ...dropped.map((one) => `drop the deployment ${deploymentText(machine, one)}`),
    "remove what no deployment needs any more",
  ];
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
