/** Removing images: their names, and the link that makes them known by their digest. */
import { isDigest } from "../../src/formats/oci.ts";
import { decodeTag, REFERRER_DIRECTORY, TAG_DIRECTORY, tagRef } from "../../src/formats/oci-tag.ts";
import { RepositoryError } from "../repository/errors.ts";
import type { Repository } from "../repository/repository.ts";
import { resolveTag } from "./image.ts";
import { listReferrers, removeReferrer } from "./referrers.ts";
import { configContentId, manifestContentId } from "./streams.ts";

/** Tags of images that a machine boots or can boot. They are no names that somebody gave. */
const DEPLOYMENT_TAG = "localhost/bootc-";

export interface Removal {
  readonly manifestDigest: string;
  /** Tags that were removed. */
  readonly tags: readonly string[];
  /** What keeps the image in the repository: tags, other references, `referrer of sha256:…`. If nothing does, it is gone. */
  readonly keptBy: readonly string[];
  /** Digests of artifacts that are no longer known as its referrers. */
  readonly referrers: readonly string[];
}

/** What a reference to a manifest's stream is. */
type Name =
  | { readonly kind: "tag"; readonly ref: string; readonly tag: string }
  | { readonly kind: "referrer"; readonly ref: string; readonly subject: string }
  | { readonly kind: "other"; readonly ref: string };

/**
 * Removes an image's tag, or, of `@sha256:…`, all tags that it has. If then nothing names the image any more, it is no
 * longer known by its digest either, nor are its referrers as such. Objects stay until garbage is collected.
 *
 * Waits until nobody else has the repository open, so that no tag is left without its image.
 *
 * Order: the tags; references to referrers; the link. So whatever an interruption leaves, all names lead to images.
 */
export function removeImage(repository: Repository, name: string, onWait?: () => void): Removal {
  try {
    return repository.exclusively(() => remove(repository, name), onWait);
  } catch (error) {
    throw new Error(`remove ${name}`, { cause: error });
  }
}

function remove(repository: Repository, name: string): Removal {
  const byDigest = name.startsWith("@");
  const digest = byDigest ? findManifest(repository, name.slice(1)) : resolveTag(repository, name);
  if (name.startsWith(DEPLOYMENT_TAG)) {
    throw Object.assign(new Error("this is the name that a deployment's image has"), {
      hint: `cfsboot image untag ${name}, if nothing shall boot from it any more`,
    });
  }
  const removed: Name[] = [];
  const kept: Name[] = [];
  for (const one of namesOf(repository, digest)) {
    const goes =
      one.kind === "tag"
        ? byDigest
          ? !one.tag.startsWith(DEPLOYMENT_TAG)
          : one.tag === name
        : one.kind === "referrer" && (byDigest || !isStored(repository, one.subject));
    (goes ? removed : kept).push(one);
  }
  const tags = removed.flatMap((one) => (one.kind === "tag" ? [one.tag] : []));
  for (const tag of tags) repository.removeRef("streams", tagRef(tag));
  if (kept.length > 0) {
    return { manifestDigest: digest, tags, keptBy: kept.map(describe), referrers: [] };
  }

  for (const { kind, ref } of removed) {
    if (kind === "referrer") repository.removeRef("streams", ref);
  }
  const referrers = listReferrers(repository, digest);
  for (const artifact of referrers) removeReferrer(repository, digest, artifact);
  repository.removeStream(manifestContentId(digest));
  return { manifestDigest: digest, tags, keptBy: [], referrers };
}

function findManifest(repository: Repository, digest: string): string {
  if (!isDigest(digest)) throw new Error("expected @sha256: and 64 lower-case hex digits");
  if (isStored(repository, digest) || namesOf(repository, digest).length > 0) return digest;
  if (repository.streamObject(configContentId(digest)) !== undefined) {
    throw new Error("this is the digest of a config, expected that of a manifest");
  }
  throw new RepositoryError("not-found", "there is no such image", {
    hint: `cfsboot image list --repo ${repository.path}`,
  });
}

function isStored(repository: Repository, manifestDigest: string): boolean {
  return repository.streamObject(manifestContentId(manifestDigest)) !== undefined;
}

function namesOf(repository: Repository, manifestDigest: string): Name[] {
  const wanted = manifestContentId(manifestDigest);
  return repository.listRefs("streams").flatMap(({ name: ref, target }): Name[] => {
    if (target !== wanted) return [];
    const [directory, first, second, ...more] = ref.split("/");
    if (directory === TAG_DIRECTORY && first !== undefined && second === undefined) {
      return [{ kind: "tag", ref, tag: decodeTag(first) }];
    }
    if (directory === REFERRER_DIRECTORY && second !== undefined && more.length === 0) {
      return [{ kind: "referrer", ref, subject: decodeTag(first!) }];
    }
    return [{ kind: "other", ref }];
  });
}

function describe(name: Name): string {
  if (name.kind === "tag") return name.tag;
  return name.kind === "referrer" ? `referrer of ${name.subject}` : `streams/refs/${name.ref}`;
}
