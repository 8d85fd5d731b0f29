/** Origin files that are gone, or name no image: what they have said, as far as it can be found out, and new ones. */

import { toHex } from "../../src/formats/digest.ts";
import {
  newOrigin,
  type Origin,
  type OriginImage,
  setOriginImage,
  setOriginKargs,
  setOriginPinned,
} from "../../src/formats/origin.ts";
import { type Deployment, hasLostOrigin, type Machine } from "../../src/model/deployments.ts";
import { listTags, openImage } from "../oci/image.ts";
import type { Repository } from "../repository/repository.ts";
import { containerTree } from "./container-tree.ts";
import { DEPLOY, type Host } from "./host.ts";
import { linuxOf, readImageTree, ukiOf } from "./image-facts.ts";
import { originName } from "./state.ts";

/**
 * The manifests, by deployment, of those whose origin does not say it, or is lost; early releases of bootc did not write it.
 * Of several that have the same image it is any.
 */
export function findManifests(
  repository: Repository,
  { deployments }: Pick<Machine, "deployments">,
): ReadonlyMap<string, string> {
  const unknown = deployments.filter(({ state }) => state?.origin?.manifestDigest === undefined);
  const found = new Map<string, string>();
  if (unknown.length === 0) return found;
  for (const { manifestDigest } of listTags(repository)) {
    const ids = new Set(imagesOf(repository, manifestDigest));
    for (const { id } of unknown) if (ids.has(id)) found.set(id, manifestDigest);
  }
  return found;
}

function imagesOf(repository: Repository, manifestDigest: string): string[] {
  try {
    return [...openImage(repository, `@${manifestDigest}`).images.values()].map(toHex);
  } catch {
    return []; // damaged: it says nothing
  }
}

/**
 * The origin with which a deployment follows another image: the one that it has, or, if that is lost, a new one with all that
 * the repository knows. What is readable of ours stays in that. Throws an error if there is no place for it.
 */
export function originFollowing(
  repository: Repository,
  deployment: Deployment,
  image: OriginImage,
): Origin {
  const { id, entry, state } = deployment;
  if (state === undefined) throw new Error(`${id.slice(0, 12)} has no state directory`);
  const { origin } = state;
  // what it was made of is in the repository, and stays what it is known by
  if (origin !== undefined && !hasLostOrigin(deployment)) return setOriginImage(origin, image);
  const found = findManifests(repository, { deployments: [deployment] });
  const manifestDigest = origin?.manifestDigest ?? found.get(id);
  const made = newOrigin({
    image,
    bootType: entry.bootType,
    bootDigest: bootDigestOf(repository, deployment, manifestDigest),
    manifestDigest,
  });
  if (origin === undefined) return made;
  return setOriginKargs(setOriginPinned(made, origin.pinned), origin.kargs);
}

/** As a new deployment has it; `undefined` of a unified kernel image, if the container image that has it is not known. */
function bootDigestOf(
  repository: Repository,
  { id, entry }: Deployment,
  manifestDigest: string | undefined,
): string | undefined {
  try {
    if (entry.bootType === "bls")
      return linuxOf(repository, readImageTree(repository, id)).bootDigest;
    if (manifestDigest === undefined) return undefined;
    const image = openImage(repository, `@${manifestDigest}`);
    return ukiOf(repository, containerTree(repository, image)).bootDigest;
  } catch (error) {
    throw new Error(`write a new origin file for ${id.slice(0, 12)}`, { cause: error });
  }
}

/** Why nothing says what image a deployment follows: an error that names the file. */
export function originTrouble({ sysrootPath }: Host, { id, state }: Deployment): Error {
  const name = originName(id);
  const why =
    state === undefined
      ? "there is no such directory"
      : (state.problems.find((problem) => problem.includes(name)) ?? `${name} names no image`);
  return new Error(`${sysrootPath}/${DEPLOY}/${id}: ${why}`);
}
