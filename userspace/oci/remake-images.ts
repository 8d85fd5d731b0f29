/** Filesystem images of a container image that were lost: they are made again, as long as they come out as they were. */
import { sameDigest, toHex } from "../../src/formats/digest.ts";
import { writeErofs } from "../../src/formats/erofs/index.ts";
import type { ErofsFormat } from "../../src/formats/meta-json.ts";
import type { XattrMode } from "../../src/model/transform.ts";
import { digestBytes } from "../hash.ts";
import type { Repository } from "../repository/repository.ts";
import { commitImages, imageTree } from "./commit.ts";
import type { StoredImage } from "./image.ts";
import { imageRef, type ObjectDigest } from "./streams.ts";

const XATTR_MODES: readonly XattrMode[] = ["allowlist-only", "keep-user-xattrs"];

/** Told what is being done, for people. */
type OnStep = (what: string) => void;

/** Makes those that are not there. Throws if one comes out differently. */
export function remakeImages(repository: Repository, image: StoredImage, onStep: OnStep): void {
  if (image.images.size === 0) {
    recommit(repository, image, onStep);
    return;
  }
  const linked = new Set(repository.listImages());
  const different: string[] = [];
  for (const [name, digest] of image.images) {
    const hex = toHex(digest);
    if (linked.has(hex) && repository.hasObject(digest)) continue;
    onStep(`image ${hex}`);
    const bytes = remake(repository, image, name, digest);
    if (bytes === undefined) different.push(`${name} ${hex}`);
    else repository.writeImage(bytes);
  }
  if (different.length > 0) {
    throw new Error(`made again, it comes out differently: ${different.join(", ")}`);
  }
}

/**
 * The config's stream was lost, and with it the names of the images. Makes those that a pull makes; and which of the
 * bootable ones there were, the links in `images/` tell.
 */
function recommit(repository: Repository, image: StoredImage, onStep: OnStep): void {
  onStep(`images of ${image.name}`);
  const unnamed = new Set(repository.listImages());
  for (const { digest } of commitImages(repository, image)) unnamed.delete(toHex(digest));
  for (const xattrs of XATTR_MODES) {
    const options = { bootable: true, xattrs };
    let made: string[];
    try {
      const tree = imageTree(repository, image, options);
      made = repository.formats.map((format) =>
        toHex(digestBytes(repository.hash, writeErofs(tree, { format }))),
      );
    } catch {
      return; // not an image to boot
    }
    if (!made.some((hex) => unnamed.has(hex))) continue;
    commitImages(repository, image, options);
    for (const hex of made) unnamed.delete(hex);
  }
}

/** The bytes of an image that was made before; `undefined` if it does not come out as it was. */
function remake(
  repository: Repository,
  image: StoredImage,
  name: string,
  digest: ObjectDigest,
): Uint8Array | undefined {
  for (const format of [1, 2, 0] as readonly ErofsFormat[]) {
    for (const bootable of [false, true]) {
      for (const xattrs of XATTR_MODES) {
        if (imageRef(format, bootable, xattrs) !== name) continue;
        if (!bootable && xattrs !== "allowlist-only") continue; // it has no name of its own
        const bytes = writeErofs(imageTree(repository, image, { bootable, xattrs }), { format });
        if (sameDigest(digestBytes(repository.hash, bytes), digest)) return bytes;
      }
    }
  }
  return undefined;
}
