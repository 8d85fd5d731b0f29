/** Writing a damaged meta.json anew. */
import { type ErofsFormat, ErofsImage } from "../../src/formats/erofs/index.ts";
import { type Metadata, newMetadata } from "../../src/formats/meta-json.ts";
import { IMAGE_LIMIT } from "./contents.ts";
import { writeMetadata } from "./metadata-file.ts";
import type { Repository } from "./repository.ts";

/** The first one that there is an image of is the default. */
const FORMATS: readonly ErofsFormat[] = [1, 2, 0];

/**
 * Replaces the meta.json of a repository that was opened with `damagedMetadata`, and returns what is in it now; open the
 * repository again afterwards.
 *
 * The hash and whether fs-verity is enforced are those of the objects. The format is that of the images; which one was the
 * default, if there are images of several, nobody knows any more.
 */
export function mendMetadata(repository: Repository): { metadata: Metadata; secure: boolean } {
  const { platform, root, hash, secure } = repository.files;
  const found = new Set<ErofsFormat>();
  for (const name of repository.listImages()) {
    try {
      const { digest, fd } = repository.openImage(name);
      platform.linux.close(fd);
      found.add(new ErofsImage(repository.readObject(digest, IMAGE_LIMIT)).format);
    } catch {} // the check has said what is wrong with it
  }
  const metadata = newMetadata(hash, FORMATS.find((format) => found.has(format)) ?? 1);
  writeMetadata(platform, root, metadata, { secure, replace: true });
  return { metadata, secure };
}
