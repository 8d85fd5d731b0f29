/**
 * The kernel command line of a new deployment: that of the running one, which holds the machine's own arguments, with
 * what the image's arguments (`kargs.d`) have gained and lost, and with the new image's digest.
 */
import { parseArgument, splitCmdline } from "../formats/cmdline.ts";

/** Whether an argument chooses the image. */
export function isComposefsArgument(argument: string): boolean {
  const { key, value } = parseArgument(argument);
  return value !== undefined && (key === "composefs" || key === "composefs.digest");
}

/**
 * The next command line. `before` and `after` are the images' own arguments: what only `before` has goes (each one once,
 * by its exact text), what only `after` has is added, unless it is there. `composefs` comes where the old one was, else
 * last.
 */
export function nextOptions(
  options: string,
  before: readonly string[],
  after: readonly string[],
  composefs: string,
): string {
  const removed = before.filter((argument) => !after.includes(argument));
  const added = after.filter((argument) => !before.includes(argument));
  let placed = false;
  const kept = splitCmdline(options).flatMap((argument) => {
    if (isComposefsArgument(argument)) {
      if (placed) return [];
      placed = true;
      return [composefs];
    }
    const gone = removed.indexOf(argument);
    if (gone < 0) return [argument];
    removed.splice(gone, 1);
    return [];
  });
  const more = added.filter((argument) => !kept.includes(argument));
  return [...kept, ...(placed ? [] : [composefs]), ...more].join(" ");
}

/** The argument for an image; `insecure`: it boots without fs-verity, too. */
export function composefsArgument(id: string, insecure: boolean): string {
  return `composefs=${insecure ? "?" : ""}${id}`;
}
