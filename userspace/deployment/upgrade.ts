/**
 * Upgrades and switches: looks at the source of an image, fetches the image and stages it. What to do is decided elsewhere
 * (`model/upgrade-decision.ts`).
 */
import { type ImagePlatform, MAX_CONFIG, parseConfig } from "../../src/formats/oci.ts";
import { type OriginImage, setOriginEtcConflicts } from "../../src/formats/origin.ts";
import { type BootGarbage, deploymentTag } from "../../src/model/boot-gc.ts";
import { type Deployment, type Machine, understand } from "../../src/model/deployments.ts";
import { type EtcStrategy, isBlocked } from "../../src/model/etc/merge.ts";
import { withLocalKargs } from "../../src/model/local-kargs.ts";
import { planNew, requireReplaceable } from "../../src/model/menu-plan.ts";
import type { Contents, ImageContent } from "../../src/model/upgrade-decision.ts";
import { openImage, type StoredImage } from "../oci/image.ts";
import { findLayer } from "../oci/layer.ts";
import { type PullProgress, type PullResult, pull } from "../oci/pull.ts";
import { type ResolvedManifest, resolveManifest } from "../oci/resolve.ts";
import { readBlob, type Transport, withMethods } from "../oci/transport.ts";
import type { Repository } from "../repository/repository.ts";
import { EtcConflictsError, withEtcPlan } from "./etc/merge.ts";
import type { EtcPlace } from "./etc/scan.ts";
import { collectBootFiles, planCollection } from "./gc.ts";
import type { Host } from "./host.ts";
import { findManifests } from "./lost-origins.ts";
import { observe } from "./observe.ts";
import { makeBootRoom, planBootRoom, requireWritableBoot } from "./room.ts";
import { type BootImage, planStage, type StagePlan, stage } from "./stage.ts";

const VERSION = "org.opencontainers.image.version";

/** An image as its source has it now. */
export interface RemoteImage extends ImageContent {
  readonly resolved: ResolvedManifest;
  readonly version: string | undefined;
  readonly created: string | undefined;
}

/** Looks at the image that a source has now. Fetches its documents, and writes nothing. */
export async function lookUp(transport: Transport, platform: ImagePlatform): Promise<RemoteImage> {
  const resolved = await resolveManifest(transport, platform);
  const { manifest, digest } = resolved;
  const name = `config ${manifest.config.digest}`;
  const config = parseConfig(await readBlob(transport, manifest.config, MAX_CONFIG), name);
  return {
    manifestDigest: digest,
    diffIds: config.diffIds,
    resolved,
    version: manifest.annotations[VERSION] ?? config.labels.get(VERSION),
    created: config.created,
  };
}

/** What the repository knows of the content of deployments. What it has lost is left out. */
export function contentsOf(repository: Repository, machine: Machine): Contents {
  const contents = new Map<string, readonly string[]>();
  const found = findManifests(repository, machine);
  for (const { id, state } of machine.deployments) {
    const digest = state?.origin?.manifestDigest ?? found.get(id);
    if (digest === undefined) continue;
    try {
      const { config } = openImage(repository, `@${digest}`);
      if (config.document !== undefined) contents.set(id, config.document.diffIds);
    } catch {
      // then it is known by its digest alone
    }
  }
  return contents;
}

/** What fetching an image takes. */
export interface Download {
  /** Layers that are to be fetched, and all. */
  readonly layers: number;
  readonly all: number;
  /** Of those that are to be fetched, in bytes, as they are transported. */
  readonly bytes: number;
}

/** What is not in the repository yet of an image. */
export function downloadOf(
  repository: Repository,
  { diffIds, resolved: { manifest } }: RemoteImage,
): Download {
  const missing = manifest.layers.filter(
    (_, index) => findLayer(repository, diffIds[index] ?? "", false) === undefined,
  );
  return {
    layers: missing.length,
    all: manifest.layers.length,
    bytes: missing.reduce((sum, { size }) => sum + size, 0),
  };
}

export interface FetchOptions {
  readonly platform: ImagePlatform;
  readonly progress?: PullProgress;
}

/** Fetches the image that was looked up, whatever its name stands for by now. */
export async function fetchImage(
  repository: Repository,
  transport: Transport,
  { resolved }: RemoteImage,
  { platform, progress }: FetchOptions,
): Promise<PullResult> {
  const { bytes, digest, manifest } = resolved;
  const root = async () => ({ bytes, digest, mediaType: manifest.mediaType });
  return pull(repository, withMethods(transport, { root }), {
    name: deploymentTag(digest),
    platform,
    bootable: true,
    ...(progress && { progress }),
  });
}

export interface StagingWish {
  readonly reference: OriginImage;
  readonly keep: number;
  readonly counted: boolean;
  readonly locked: boolean;
  /** Even if it would not come up. */
  readonly force?: boolean;
  /** `chosen`: it is noted, so that it counts at shutdown, too, whatever is configured. */
  readonly etcConflicts: { readonly strategy: EtcStrategy; readonly chosen: boolean };
}

/**
 * Removes what interrupted commands have left, so that there is room. Returns what that was. Throws if boot partitions
 * cannot be written to, or if what is staged must not be replaced.
 */
export function tidy(host: Host, repository: Repository): BootGarbage {
  requireWritableBoot(host);
  const machine = understand(observe(host, repository).seen);
  requireReplaceable(machine);
  const garbage = planCollection(repository, machine);
  collectBootFiles(host, repository, garbage);
  return garbage;
}

/** How an image is staged, and what has to go before. */
export interface UpgradePlan extends StagePlan {
  /** Deployments without which there is room for the kernel. */
  readonly gone: readonly Deployment[];
}

/**
 * Decides how an image that was fetched is staged. Throws if there is no room on a boot partition, and an
 * `EtcConflictsError` if there are conflicts in `/etc` that nobody has decided about.
 */
export function planUpgrade(
  host: Host,
  repository: Repository,
  machine: Machine,
  image: StoredImage,
  boot: BootImage,
  etc: EtcPlace,
  { etcConflicts, ...request }: StagingWish,
): UpgradePlan {
  if (machine.booted === undefined) throw new Error("what runs is not in the boot menu");
  const plan = planStage(host, repository, machine, image, boot, request);
  const gone = planBootRoom(host, machine, plan);
  requireNoConflicts(host, machine.booted, plan, etc, etcConflicts.strategy);
  const how = etcConflicts.chosen ? etcConflicts.strategy : undefined;
  const { kargs } = plan.origin;
  const deployments = machine.deployments.filter((one) => !gone.includes(one));
  return {
    ...plan,
    gone,
    menu: planNew({ ...machine, deployments }, plan.id, request.keep),
    options: withLocalKargs(plan.options, kargs),
    origin: setOriginEtcConflicts(plan.origin, how),
  };
}

/** Carries out a plan: makes room first, if that is needed. */
export function stageUpgrade(
  host: Host,
  repository: Repository,
  machine: Machine,
  plan: UpgradePlan,
): void {
  if (host.run === undefined) throw new Error("nothing can be staged where no system runs");
  makeBootRoom(host, machine, plan.gone, plan);
  stage(host, repository, plan);
}

function requireNoConflicts(
  { linux }: Host,
  { id }: Deployment,
  plan: StagePlan,
  current: EtcPlace,
  strategy: EtcStrategy,
): void {
  if (plan.pristine === undefined) throw new Error(`the image of ${id} was not read`);
  const pristine = { name: `/etc of ${id.slice(0, 12)}`, tree: plan.pristine };
  const next = { name: "/etc of the new image", tree: plan.etc };
  withEtcPlan(linux, { pristine, current, next }, strategy, (merge) => {
    if (isBlocked(merge)) throw new EtcConflictsError(merge);
  });
}
