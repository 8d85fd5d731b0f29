/** What a unified kernel image boots: its command line is part of it, and the digest there must be that of the image it came in. */
import type { ComposefsArgument } from "../../src/formats/cmdline.ts";
import { toHex } from "../../src/formats/digest.ts";
import { writeErofs } from "../../src/formats/erofs/writer.ts";
import { HintedError } from "../../src/linux/hint.ts";
import type { Tree } from "../../src/model/tree.ts";
import { digestBytes } from "../hash.ts";
import type { UnifiedKernel } from "./image-facts.ts";

/**
 * Throws if one of its profiles does not boot the image `id`, of this tree, or names another one besides: an image in the
 * other format, or by the other hash, is the same. `insecure`: whether one of them boots it without fs-verity, too.
 */
export function requireBoots(
  { path, profiles }: UnifiedKernel,
  id: string,
  tree: Tree,
): { readonly insecure: boolean } {
  const wrong = (images: readonly ComposefsArgument[]) => {
    const texts = images.map(({ text }) => text).join(" ") || "no composefs=";
    return new HintedError(
      `the unified kernel image ${path} has ${texts} on its command line; the image is ${id}`,
      "cfsboot image digest --bootable tells what belongs there; what is put into /boot afterwards does not change it",
    );
  };
  for (const images of profiles) {
    if (!images.some(({ digest }) => digest === id)) throw wrong(images);
    if (!images.every((image) => image.digest === id || isOf(image, tree))) throw wrong(images);
  }
  return { insecure: profiles.flat().some(({ digest, insecure }) => digest === id && insecure) };
}

/** Whether it is what the tree gives in that format; a short argument does not say which one. */
function isOf({ digest, hash, erofs }: ComposefsArgument, tree: Tree): boolean {
  const formats = erofs === undefined ? ([1, 2] as const) : [erofs];
  return formats.some((format) => {
    const bytes = writeErofs(tree, { format });
    return toHex(digestBytes(hash, bytes)) === digest;
  });
}
