/** Kernel arguments of the machine's own: changed in a deployment's entry, and noted so that upgrades carry them on. */
import { parseArgument, splitCmdline } from "../formats/cmdline.ts";
import {
  addKarg,
  applyKargChanges,
  deleteKarg,
  deleteKargName,
  replaceKarg,
  sameKarg,
  sameKargName,
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

interface Edited {
  readonly list: readonly string[];
  readonly added: readonly string[];
  readonly deleted: readonly string[];
}

/**
 * A command line with edits made, in their order, and what is noted of it. Where all of a name was deleted or replaced, the
 * name is noted: a new image may bring it with another value. Throws an error for what is not there, or what decides which
 * image is booted.
 */
export function editKargs(
  options: string,
  local: LocalKargs,
  edits: readonly KargEdit[],
): EditedKargs {
  const before: Edited = { list: splitCmdline(options), ...local };
  const { list, added, deleted } = edits.reduce(edited, before);
  return { options: list.join(" "), local: { added: [...added], deleted: [...deleted] } };
}

function edited(now: Edited, { edit, karg }: KargEdit): Edited {
  if (isComposefsArgument(karg) || ["composefs", "composefs.digest"].includes(karg)) {
    throw new Error(`kernel argument ${karg}: it decides which image is booted`);
  }
  switch (edit) {
    case "add":
      return added(now, karg);
    case "delete":
      return deleted(now, karg);
    case "replace":
      return replaced(now, karg);
  }
}

function added(now: Edited, karg: string): Edited {
  const list = addKarg(now.list, karg);
  // what was only deleted is there again
  const kept = deleteKarg(now.deleted, karg);
  // it may be noted as deleted, if that was cut off before the boot entry was written
  if (list.length === now.list.length) return { ...now, deleted: kept };
  if (kept.length < now.deleted.length) return { ...now, list, deleted: kept };
  return { ...now, list, added: addKarg(now.added, karg) };
}

function deleted(now: Edited, karg: string): Edited {
  const list = deleteKarg(now.list, karg);
  if (list.length < now.list.length) {
    const kept = deleteKarg(now.added, karg);
    if (kept.length < now.added.length) return { ...now, list, added: kept };
    return { ...now, list, deleted: addKarg(now.deleted, karg) };
  }
  // a name alone stands for all of that name
  if (parseArgument(karg).value === undefined) {
    const without = withoutName(now, karg);
    if (without.list.length < now.list.length) return without;
  }
  // it may be noted as added, if that was cut off before the boot entry was written
  const kept = withoutNoted(now.added, karg);
  if (kept.length < now.added.length) return { ...now, added: kept };
  throw new Error(`kernel argument ${karg}: it is not there`);
}

function replaced(now: Edited, karg: string): Edited {
  const of = now.list.filter((other) => sameKargName(other, karg));
  if (of.length === 1 && sameKarg(of[0]!, karg)) {
    return { ...now, deleted: deleteKarg(now.deleted, karg) };
  }
  const { added, deleted } = withoutName(now, parseArgument(karg).key);
  return { list: replaceKarg(now.list, karg), added: addKarg(added, karg), deleted };
}

/** Without all of a name. That is noted, unless they were the machine's own. */
function withoutName({ list, added, deleted }: Edited, name: string): Edited {
  const of = (some: readonly string[]) => some.filter((karg) => sameKargName(karg, name));
  const own = of(list).every((karg) => added.some((other) => sameKarg(other, karg)));
  return {
    list: deleteKargName(list, name),
    added: deleteKargName(added, name),
    deleted: own ? deleted : [...deleteKargName(deleted, name), name],
  };
}

/** A command line of a new deployment, with the machine's own changes made. */
export function withLocalKargs(options: string, { added, deleted }: LocalKargs): string {
  const kept = deleted.reduce(withoutNoted, splitCmdline(options));
  return applyKargChanges(kept, { added, deleted: [] }).join(" ");
}

/** Without an argument; a name alone, that is no argument, stands for all of that name. */
function withoutNoted(list: readonly string[], karg: string): readonly string[] {
  const without = deleteKarg(list, karg);
  if (without.length < list.length || parseArgument(karg).value !== undefined) return without;
  return deleteKargName(list, karg);
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
