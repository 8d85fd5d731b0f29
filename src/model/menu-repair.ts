/**
 * A boot menu that has lost entries: its boot partition was made anew, or a repair of its file system has taken them. What
 * they were is known from what runs, from state directories and from images.
 */
import { parseArgument, splitCmdline } from "../formats/cmdline.ts";
import type { Observation } from "./deployments.ts";

/**
 * Ids of the deployments that are to have an entry again, first what runs. That is missing wherever a menu was lost. Of the
 * others it can only be told where there is no entry of ours at all: else it may be that they were deleted. `unfinished` are
 * updates that were never finalized, whose `/etc` is not that of the machine.
 */
export function lostEntries(seen: Observation, unfinished: ReadonlySet<string>): string[] {
  const { running, menu, images, states } = seen;
  if (running === undefined || menu.some(({ id }) => id === running.id)) return [];
  const others = menu.length > 0 ? [] : states.filter(({ problems }) => problems.length === 0);
  const ids = [running.id, ...others.map(({ id }) => id).filter((id) => !unfinished.has(id))];
  const there = new Set(states.map(({ id }) => id));
  return [...new Set(ids)].filter((id) => there.has(id) && images.has(id));
}

/** Arguments that boot loaders add to those of the entry. */
const ADDED = new Set(["BOOT_IMAGE", "initrd"]);

/** What an entry says that a kernel has this command line of. */
export function entryOptions(cmdline: string): string {
  return splitCmdline(cmdline)
    .filter((argument) => !ADDED.has(parseArgument(argument).key))
    .join(" ");
}
