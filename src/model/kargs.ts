/**
 * The kernel command line of a new deployment: that of the running one, which holds the machine's own arguments, with
 * what the image's arguments (`kargs.d`) have gained and lost, and with the new image's digest.
 */
import { parseArgument, splitCmdline } from "../formats/cmdline.ts";
import type { HashName } from "../formats/digest.ts";
import { applyKargChanges, kargChanges } from "../formats/kargs.ts";

/** Whether an argument chooses the image. */
export function isComposefsArgument(argument: string): boolean {
  const { key, value } = parseArgument(argument);
  return value !== undefined && (key === "composefs" || key === "composefs.digest");
}

/**
 * The next command line. `before` and `after` are the images' own arguments: what only `before` has goes, what only `after` has
 * is added, unless it is there. `composefs` comes where the old one was, else last.
 */
export function nextOptions(
  options: string,
  before: readonly string[],
  after: readonly string[],
  composefs: string,
): string {
  const kargs = splitCmdline(options);
  const place = kargs.findIndex(isComposefsArgument);
  const placed =
    place < 0 ? [...kargs, composefs] : kargs.map((karg, i) => (i === place ? composefs : karg));
  const others = placed.filter((karg) => karg === composefs || !isComposefsArgument(karg));
  return applyKargChanges(others, kargChanges(before, after)).join(" ");
}

/** The argument for an image; `insecure`: it boots without fs-verity, too. */
export function composefsArgument(id: string, insecure: boolean): string {
  return `composefs=${insecure ? "?" : ""}${id}`;
}

/** The same for an image of a format that is said; early releases of bootc and composefs-rs do not know it. */
export function composefsDigestArgument(image: {
  readonly id: string;
  readonly erofs: 1 | 2;
  readonly hash: HashName;
  readonly insecure: boolean;
}): string {
  const { id, erofs, hash, insecure } = image;
  return `composefs.digest=${insecure ? "?" : ""}v${erofs}-${hash}-12:${id}`;
}
