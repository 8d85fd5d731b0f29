/** What `upgrade` and `switch` share: an image is looked up, and what has been decided about it is carried out. */
import type { OriginImage } from "../../src/formats/origin.ts";
import { type Machine, understand } from "../../src/model/deployments.ts";
import { deploymentText } from "../../src/model/menu-text.ts";
import { deploymentOf } from "../../src/model/upgrade-decision.ts";
import { collect, collectionSteps } from "../deployment/gc.ts";
import { observe } from "../deployment/observe.ts";
import { sourceOf } from "../deployment/references.ts";
import { requireRoom } from "../deployment/room.ts";
import { bootImageOf } from "../deployment/stage.ts";
import { armFinalize } from "../deployment/units.ts";
import {
  contentsOf,
  downloadOf,
  fetchImage,
  lookUp,
  planUpgrade,
  type RemoteImage,
  type StagingWish,
  stageUpgrade,
  tidy,
} from "../deployment/upgrade.ts";
import { openImage } from "../oci/image.ts";
import { currentPlatform } from "../oci/platform.ts";
import type { PullResult } from "../oci/pull.ts";
import { parseReference } from "../oci/reference.ts";
import type { Transport } from "../oci/transport.ts";
import type { Repository } from "../repository/repository.ts";
import { garbageSteps, objectsSteps } from "./collect.ts";
import { awaitsReboot, concerned } from "./concerned.ts";
import { describeError } from "./errors.ts";
import { warnOf } from "./gc.ts";
import type { OpenMachine } from "./machine.ts";
import { bothProgress, type ProgressWriter, progressTo } from "./progress-fd.ts";
import { openTransport, type RegistryFlags } from "./pull.ts";
import { terminalProgress } from "./pull-progress.ts";
import type { Ending, Report } from "./report.ts";
import { waiting } from "./repository.ts";
import { carryOut, stagingWishOf, type Wish, warn } from "./staging-decision.ts";
import type { StagingFlags } from "./staging-options.ts";
import { preview } from "./staging-preview.ts";
import { gettingStep, stagingSteps } from "./staging-steps.ts";

/** The deployments of an open machine. */
export function machineOf({ host, repository }: Pick<OpenMachine, "host" | "repository">): Machine {
  return understand(observe(host, repository).seen);
}

/** Looks the image up, calls `use` with it, and closes what it comes from. */
export async function withRemote<T>(
  image: OriginImage,
  flags: RegistryFlags,
  use: (remote: RemoteImage, transport: Transport) => Promise<T>,
): Promise<T> {
  const source = sourceOf(image);
  try {
    const transport = await openTransport(parseReference(source), flags);
    try {
      return await use(await lookUp(transport, currentPlatform()), transport);
    } finally {
      await transport.close();
    }
  } catch (error) {
    throw new Error(source, { cause: error });
  }
}

/** Looks the image up, decides, and carries it out on the machine as it is by now. */
export async function follow(
  open: OpenMachine,
  machine: Machine,
  wish: Wish,
  flags: StagingFlags,
  report: Report,
): Promise<Ending> {
  // a pipe that is none is wrong usage whatever there is to do
  const programs =
    flags.progressFd === undefined
      ? undefined
      : progressTo(flags.progressFd, sourceOf(wish.source));
  return withRemote(wish.source, flags, async (remote, transport) => {
    const twin = deploymentOf(machine, remote, contentsOf(open.repository, machine));
    const decision = wish.decide(machine, twin);
    if (decision.do !== "stage") {
      return carryOut(open, machine, decision, wish, flags, report);
    }
    if (flags.dryRun) return preview(open, machine, remote, wish, flags, report);
    // what is wrong with the configuration is told before anything is fetched
    const wanted = stagingWishOf(open.host, open.etc, wish.follow, flags);
    const getting = gettingStep(
      wish.source,
      remote,
      isStored(open.repository, remote) ? undefined : downloadOf(open.repository, remote),
    );
    const fetched = await fetchInto(open, remote, transport, flags, programs, report);
    report.note([getting]);
    const tidied = machineOf(open);
    const same = tidied.deployments.find(({ id }) => id === fetched.bootImage);
    // its layers were others, and came to the same
    const late = same === undefined ? undefined : wish.decide(tidied, same);
    if (late !== undefined && late.do !== "stage") {
      return carryOut(open, tidied, late, wish, flags, report);
    }
    return stageFetched(open, tidied, fetched, remote, wanted, flags, programs, report);
  });
}

function isStored(repository: Repository, { manifestDigest }: RemoteImage): boolean {
  try {
    openImage(repository, `@${manifestDigest}`);
    return true;
  } catch {
    return false; // what is missing is fetched
  }
}

async function fetchInto(
  { host, repository, live }: OpenMachine,
  remote: RemoteImage,
  transport: Transport,
  flags: StagingFlags,
  programs: ProgressWriter | undefined,
  report: Report,
): Promise<PullResult> {
  repository.requireWritable();
  report.note(collectionSteps(tidy(host, repository)));
  requireRoom(host, downloadOf(repository, remote));
  if (live) armFinalize(warn);
  const terminal = process.stderr.isTTY && !flags.quiet ? terminalProgress() : undefined;
  const warnings: string[] = [];
  const whole = (index: number, why: unknown) => {
    warnings.push(`layer ${index + 1} was fetched as a whole: ${describeError(why).message}`);
  };
  const all = [terminal, programs, { whole }].filter((one) => one !== undefined);
  try {
    return await fetchImage(repository, transport, remote, {
      platform: currentPlatform(),
      progress: bothProgress(...all),
    });
  } finally {
    terminal?.stop();
    for (const warning of warnings) warn(warning);
  }
}

async function stageFetched(
  open: OpenMachine,
  machine: Machine,
  fetched: PullResult,
  remote: RemoteImage,
  wanted: StagingWish,
  flags: StagingFlags,
  programs: ProgressWriter | undefined,
  report: Report,
): Promise<Ending> {
  const { host, repository, etc } = open;
  if (etc === undefined) throw new Error("nothing runs there: no /etc can be merged");
  const image = openImage(repository, `@${remote.manifestDigest}`);
  programs?.staging(0, 2);
  const boot = bootImageOf(repository, image, fetched);
  const plan = planUpgrade(host, repository, machine, image, boot, etc, wanted);
  for (const { message } of plan.findings) warn(message);
  programs?.staging(1, 2);
  stageUpgrade(host, repository, machine, plan);
  programs?.staging(2, 2);
  const now = machineOf(open);
  report.note(stagingSteps(plan, wanted.reference));
  report.say([
    `${flags.downloadOnly ? "Downloaded" : "Queued for next boot"}: ${sourceOf(wanted.reference)}`,
    ...(remote.version === undefined ? [] : [`  Version: ${remote.version}`]),
    `  Digest: ${remote.manifestDigest}`,
    `  Deployment: ${plan.id.slice(0, 12)}`,
    ...plan.gone.map((one) => `  Deleted: ${deploymentText(now, one)}, to make room`),
    ...plan.menu.dropped.map((one) => `  Dropped: ${deploymentText(now, one)}`),
    ...(flags.downloadOnly ? ["cfsboot upgrade --from-downloaded makes it the next to boot"] : []),
  ]);
  try {
    const steps = await garbageSteps(host, repository, now, false);
    report.note([
      ...steps,
      ...objectsSteps(collect(host, repository, waiting(repository.path), warnOf)),
    ]);
  } catch (error) {
    warnOf(error); // it is staged all the same
  }
  return {
    deployments: concerned(open, ...now.deployments.filter(({ id }) => id === plan.id)),
    rebootRequired: awaitsReboot(host, now),
    apply: true,
  };
}
