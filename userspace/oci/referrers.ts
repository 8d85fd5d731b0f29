/**
 * What says something about an image and is in the repository with it: signatures, attestations, bills of materials.
 * They are manifests that name another one as their subject. A reference per pair of digests makes them known, and keeps
 * them from being collected.
 */
import {
  artifactType,
  MAX_MANIFEST,
  manifestMediaType,
  parseManifest,
} from "../../src/formats/oci.ts";
import {
  decodeTag,
  REFERRER_DIRECTORY,
  referrerRef,
  referrersDirectory,
} from "../../src/formats/oci-tag.ts";
import type { Repository } from "../repository/repository.ts";
import { MANIFEST_PREFIX, manifestContentId, readDocument } from "./streams.ts";

/** A referrer, with the fields that the distribution specification gives it in its list of them. */
export interface Referrer {
  readonly mediaType: string;
  readonly digest: string;
  /** Of the manifest, in bytes. */
  readonly size: number;
  readonly artifactType: string;
  readonly annotations: Readonly<Record<string, string>>;
}

/** Makes an artifact's manifest, which is in the repository, known as a referrer of its subject. */
export function addReferrer(repository: Repository, subject: string, artifact: string): void {
  repository.setRef("streams", referrerRef(subject, artifact), manifestContentId(artifact));
}

/** Digests of the manifests that refer to one, sorted. References that lead elsewhere than they say are left out. */
export function listReferrers(repository: Repository, subject: string): string[] {
  const directory = referrersDirectory(subject);
  return repository.listRefs("streams", directory).flatMap(({ name, target }) => {
    const artifact = decodeTag(name.slice(directory.length + 1));
    return target === manifestContentId(artifact) ? [artifact] : [];
  });
}

/** The subjects that a manifest is known as a referrer of. */
export function listSubjects(repository: Repository, artifact: string): string[] {
  const subjects: string[] = [];
  for (const { name, target } of repository.listRefs("streams", REFERRER_DIRECTORY)) {
    const [subject, referrer] = name.slice(REFERRER_DIRECTORY.length + 1).split("/");
    if (target !== manifestContentId(artifact) || referrer === undefined) continue;
    if (decodeTag(referrer) === artifact) subjects.push(decodeTag(subject!));
  }
  return subjects;
}

/** Forgets a referrer, which is collected then unless it has a name of its own. False if it was not known. */
export function removeReferrer(repository: Repository, subject: string, artifact: string): boolean {
  return repository.removeRef("streams", referrerRef(subject, artifact));
}

/** What is told about the referrers of a manifest. One that cannot be read is left out and told about. */
export function describeReferrers(
  repository: Repository,
  subject: string,
  onUnreadable: (error: unknown) => void,
): Referrer[] {
  return listReferrers(repository, subject).flatMap((digest) => {
    try {
      return [describeReferrer(repository, digest)];
    } catch (error) {
      onUnreadable(new Error(`referrer ${digest}`, { cause: error }));
      return [];
    }
  });
}

function describeReferrer(repository: Repository, digest: string): Referrer {
  const name = `${MANIFEST_PREFIX}${digest}`;
  const stream = repository.streamObject(name);
  if (stream === undefined) throw new Error("its manifest is missing");
  const { bytes } = readDocument(repository, stream, "oci-manifest", name, MAX_MANIFEST);
  const manifest = parseManifest(bytes, name);
  return {
    mediaType: manifestMediaType(manifest),
    digest,
    size: bytes.length,
    artifactType: artifactType(manifest),
    annotations: manifest.annotations,
  };
}
