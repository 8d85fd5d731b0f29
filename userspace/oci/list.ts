/** What is told about the images of a repository. */
import type { Repository } from "../repository/repository.ts";
import { listTags, openImage } from "./image.ts";
import { listReferrers } from "./referrers.ts";

/** One tagged image. */
export interface ImageSummary {
  readonly name: string;
  readonly manifestDigest: string;
  readonly isContainer: boolean;
  /** Empty for an artifact, like `os`. */
  readonly architecture: string;
  readonly os: string;
  readonly created: string | null;
  readonly layerCount: number;
  /** Artifacts (signatures and the like) in the repository that refer to it. */
  readonly referrerCount: number;
}

/** All tagged images, sorted by name. One that cannot be read is left out and told about. */
export function listImages(
  repository: Repository,
  onUnreadable: (error: unknown) => void,
): ImageSummary[] {
  const summaries: ImageSummary[] = [];
  for (const { tag, manifestDigest } of listTags(repository)) {
    try {
      const { config, layers } = openImage(repository, tag);
      summaries.push({
        name: tag,
        manifestDigest,
        isContainer: config.document !== undefined,
        architecture: config.document?.architecture ?? "",
        os: config.document?.os ?? "",
        created: config.document?.created ?? null,
        layerCount: layers.length,
        referrerCount: listReferrers(repository, manifestDigest).length,
      });
    } catch (error) {
      onUnreadable(error);
    }
  }
  return summaries;
}
