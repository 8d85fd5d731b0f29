/** Kernel arguments of the machine's own: changed in a deployment's entry, and noted so that upgrades carry them on. */
import { parseArgument, splitCmdline } from "../formats/cmdline.ts";
import {
  addKarg,
  applyKargChanges,
  deleteKarg,
  deleteKargName,
  kargChanges,
  replaceKarg,
  sameKarg,
} from "../formats/kargs.ts";
import type { LocalKargs } from "../formats/origin.ts";
import type { Deployment, Machine } from "./deployments.ts";
import { nextDeployment } from "./host-status.ts";
import { isComposefsArgument } from "./kargs.ts";

/** What a person wants; the argument with the quotes that it needs on a command line. */
export interface KargEdit {
  readonly edit: "add" | "delete" | "replace";
  readonly karg: string;
}

export interface EditedKargs {
  readonly options: string;
  readonly local: LocalKargs;
}

/**
 * A command line with edits made, in their order, and what is noted of it. Throws an error for what is not there, or what
 * decides which image is booted.
 */
export function editKargs(
  options: string,
  local: LocalKargs,
  edits: readonly KargEdit[],
): EditedKargs {
  const before = splitCmdline(options);
  const after = edits.reduce<readonly string[]>(edited, before);
  const { added, deleted } = kargChanges(before, after);
  return {
    options: after.join(" "),
    local: {
      added: union(without(local.added, deleted), without(added, local.deleted)),
      deleted: union(without(local.deleted, added), without(deleted, local.added)),
    },
  };
}

function edited(list: readonly string[], { edit, karg }: KargEdit): readonly string[] {
  if (isComposefsArgument(karg) || ["composefs", "composefs.digest"].includes(karg)) {
    throw new Error(`kernel argument ${karg}: it decides which image is booted`);
  }
  if (edit === "add") return addKarg(list, karg);
  if (edit === "replace") return replaceKarg(list, karg);
  const exact = deleteKarg(list, karg);
  if (exact.length < list.length) return exact;
  // a name alone stands for all of that name
  const named = parseArgument(karg).value === undefined ? deleteKargName(list, karg) : list;
  if (named.length < list.length) return named;
  throw new Error(`kernel argument ${karg}: it is not there`);
}

/** A command line of a new deployment, with the machine's own changes made. */
export function withLocalKargs(options: string, local: LocalKargs): string {
  return applyKargChanges(splitCmdline(options), local).join(" ");
}

/** Where a deployment's arguments come from. */
export interface KargSources {
  /** From the image's `kargs.d`. */
  readonly image: readonly string[];
  /** Added by `karg`. */
  readonly local: readonly string[];
  /** From the installation, or from elsewhere. */
  readonly other: readonly string[];
  /** Taken away by `karg`. */
  readonly deleted: readonly string[];
}

/** Tells them apart. `image` is what the image has in `kargs.d`. */
export function kargSources(
  options: string,
  image: readonly string[],
  local: LocalKargs,
): KargSources {
  const kargs = splitCmdline(options);
  const among = (list: readonly string[]) => (karg: string) =>
    list.some((other) => sameKarg(karg, other));
  const isLocal = among(local.added);
  const isImage = among(image);
  return {
    image: kargs.filter((karg) => isImage(karg) && !isLocal(karg)),
    local: kargs.filter(isLocal),
    other: kargs.filter((karg) => !isLocal(karg) && !isImage(karg)),
    deleted: local.deleted,
  };
}

/**
 * The deployments that an edit is about: the one that is booted next, and what is staged, also if it is only downloaded: it
 * would come without the change else.
 */
export function kargTargets(machine: Machine): Deployment[] {
  const { staged } = machine;
  const next = nextDeployment(machine);
  return [...new Set([next, staged])].filter((one) => one !== undefined);
}

function union(a: readonly string[], b: readonly string[]): string[] {
  return b.reduce<readonly string[]>(addKarg, a) as string[];
}

function without(list: readonly string[], others: readonly string[]): readonly string[] {
  return others.reduce<readonly string[]>(deleteKarg, list);
}
