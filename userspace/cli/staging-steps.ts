/** What `upgrade` and `switch` do, as steps. */
import type { OriginImage } from "../../src/formats/origin.ts";
import { utcTimestamp } from "../../src/formats/utc-timestamp.ts";
import { type ImageStatus, imageReference } from "../../src/model/host-status.ts";
import type { MenuStep, StagingStep } from "../../src/model/steps.ts";
import { sourceOf } from "../deployment/references.ts";
import type { Download, RemoteImage, UpgradePlan } from "../deployment/upgrade.ts";
import { currentPlatform } from "../oci/platform.ts";

/** Gets an image: `download` is what is fetched for that; absent: all of it is in the repository. */
export function gettingStep(
  source: OriginImage,
  { manifestDigest: imageDigest }: RemoteImage,
  download: Download | undefined,
): StagingStep {
  const image = sourceOf(source);
  if (download === undefined) return { do: "take", image, imageDigest };
  const { layers: missing, all, bytes } = download;
  return { do: "fetch", image, imageDigest, layers: { missing, all, bytes } };
}

/** Stages an image that is there. */
export function stagingSteps(
  { id, kernel, locked, gone, menu }: UpgradePlan,
  follow: OriginImage,
): (StagingStep | MenuStep)[] {
  return [
    ...gone.map((one) => ({ do: "delete", id: one.id }) as const),
    {
      ...{ do: "stage", id, kernel: kernel.release },
      ...{ downloadOnly: locked, follows: sourceOf(follow) },
    },
    ...menu.dropped.map((one) => ({ do: "drop", id: one.id }) as const),
  ];
}

/** The image, as `status` shows it once it is staged. */
export function remoteImageStatus(
  remote: RemoteImage,
  follow: OriginImage,
  { architecture } = currentPlatform(),
): ImageStatus {
  const { version = null, created, manifestDigest } = remote;
  return {
    image: imageReference(follow),
    version,
    timestamp: (created !== undefined && utcTimestamp(created)) || null,
    imageDigest: manifestDigest,
    architecture,
  };
}
