/** What an upgrade or a switch does, from what the machine has and what the image's source has. Nothing here acts. */
import { formatOriginImage, type OriginImage } from "../formats/origin.ts";
import { type Deployment, hasLostOrigin, isLost, type Machine } from "./deployments.ts";
import { nextDeployment } from "./host-status.ts";
import { PlanError } from "./menu-plan.ts";

/** What identifies the content of an image without fetching it. */
export interface ImageContent {
  readonly manifestDigest: string;
  /** Digests of the layers' uncompressed tars. */
  readonly diffIds: readonly string[];
}

/** What the repository knows of the images of deployments, by deployment. */
export type Contents = ReadonlyMap<string, readonly string[]>;

export type Decision =
  /** The image is fetched and staged. */
  | { readonly do: "stage" }
  /** What is staged and only downloaded is to take over. */
  | { readonly do: "unlock"; readonly deployment: Deployment }
  /** The deployment follows the new reference. */
  | { readonly do: "adopt"; readonly deployment: Deployment }
  /** There is nothing to do. `pending`: with a reboot something else than what runs would be booted, as asked for. */
  | {
      readonly do: "nothing";
      readonly why: string;
      readonly pending: boolean;
      readonly deployment: Deployment;
    };

/** A decision that needs nothing fetched. */
export type SettledDecision = Exclude<Decision, { do: "stage" }>;

export interface UpgradeWish {
  readonly downloadOnly: boolean;
}

export interface SwitchWish extends UpgradeWish {
  /** The deployment that has the image already shall follow the reference. */
  readonly inPlace: boolean;
}

/** The image that the machine follows: that of what is staged, so that an upgrade does not undo a switch, else of what runs. */
export function followedImage(machine: Machine): OriginImage | undefined {
  return followedDeployment(machine)?.state?.origin?.image;
}

/** The deployment that it is the image of. */
export function followedDeployment({ staged, booted }: Machine): Deployment | undefined {
  return staged?.state?.origin?.image === undefined ? booted : staged;
}

/** Whether two references are the same. */
export function sameReference(a: OriginImage, b: OriginImage): boolean {
  return formatOriginImage(a) === formatOriginImage(b);
}

/**
 * The deployment that is of this image. Images whose layers are the same have the same filesystem, whatever else their
 * documents say. Digests of manifests are compared with such, never with those of configs.
 */
export function deploymentOf(
  { deployments }: Machine,
  image: ImageContent,
  contents: Contents,
): Deployment | undefined {
  const layers = image.diffIds.join();
  return (
    deployments.find(({ state }) => state?.origin?.manifestDigest === image.manifestDigest) ??
    deployments.find(({ id }) => contents.get(id)?.join() === layers)
  );
}

/** What an upgrade does: `twin` is the deployment that is of the image already. */
export function decideUpgrade(
  machine: Machine,
  twin: Deployment | undefined,
  wish: UpgradeWish,
): Decision {
  if (twin === undefined || isLost(twin)) return { do: "stage" };
  const { staged, booted } = machine;
  if (twin === staged) return decideStaged(staged, wish);
  const next = nextDeployment(machine);
  const name = twin.id.slice(0, 12);
  if (twin === booted) {
    const queued =
      next === undefined || next === booted ? "" : `; ${next.id.slice(0, 12)} is booted next`;
    return { do: "nothing", why: `it is what runs${queued}`, pending: false, deployment: twin };
  }
  const why = `it is that of the ${twin.slot} deployment ${name}`;
  return twin === next
    ? { do: "nothing", why: `${why}, which is booted next`, pending: true, deployment: twin }
    : {
        do: "nothing",
        why: `${why}; cfsboot rollback ${name} boots it`,
        pending: false,
        deployment: twin,
      };
}

function decideStaged(staged: Deployment, { downloadOnly }: UpgradeWish): SettledDecision {
  if (staged.downloadOnly && !downloadOnly) return { do: "unlock", deployment: staged };
  if (staged.downloadOnly) {
    return {
      do: "nothing",
      why: "it is downloaded already",
      pending: false,
      deployment: staged,
    };
  }
  return { do: "nothing", why: "it is staged already", pending: true, deployment: staged };
}

/** What `--from-downloaded` does. Throws a `PlanError` if nothing is staged. */
export function decideFromDownloaded({ staged }: Machine): SettledDecision {
  if (staged === undefined) {
    throw new PlanError("nothing is staged", "cfsboot upgrade --download-only downloads an update");
  }
  return decideStaged(staged, { downloadOnly: false });
}

/** Whether a switch asks for nothing: the machine follows this reference already. */
export function isUnchanged(machine: Machine, target: OriginImage): boolean {
  const current = followedImage(machine);
  return current !== undefined && sameReference(current, target);
}

/**
 * What a switch does: `twin` is the deployment that is of the image already. Throws a `PlanError` where that is nothing that it
 * could.
 */
export function decideSwitch(
  { staged }: Machine,
  twin: Deployment | undefined,
  { inPlace }: SwitchWish,
): Decision {
  if (twin === undefined) {
    if (!inPlace) return { do: "stage" };
    throw new PlanError(
      "no deployment has this image",
      "without --in-place it is fetched and staged",
    );
  }
  if (inPlace) return { do: "adopt", deployment: twin };
  if (isLost(twin)) return { do: "stage" };
  // no other reference is given up for it, and nothing else is booted next
  if (twin.slot === "booted" && staged === undefined && hasLostOrigin(twin)) {
    return { do: "adopt", deployment: twin };
  }
  const name = twin.id.slice(0, 12);
  throw new PlanError(
    `the ${twin.slot} deployment ${name} has this image already`,
    twin.slot === "booted" || twin.slot === "staged"
      ? "cfsboot switch --in-place makes it follow the new reference"
      : `cfsboot switch --in-place makes it follow the new reference; cfsboot rollback ${name} boots it`,
  );
}
