/** The tree of a deployment's container image: with its `/boot`, which the filesystem that boots has not. */
import { toHex } from "../../src/formats/digest.ts";
import type { Tree } from "../../src/formats/tree.ts";
import { imageTree } from "../oci/commit.ts";
import type { StoredImage } from "../oci/image.ts";
import { imageRef } from "../oci/streams.ts";
import type { Repository } from "../repository/repository.ts";
import { readImageTree } from "./image-facts.ts";

/** From the filesystem image that the pull has made, or from the layers. */
export function containerTree(repository: Repository, image: StoredImage): Tree {
  for (const format of repository.formats) {
    const digest = image.images.get(imageRef(format, false, "allowlist-only"));
    if (digest === undefined || !repository.hasObject(digest)) continue;
    return readImageTree(repository, toHex(digest));
  }
  return imageTree(repository, image);
}
