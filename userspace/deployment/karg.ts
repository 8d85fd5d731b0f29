/** Changes kernel arguments in the boot menu, and notes them. */
import { serializeBlsEntry, setBlsOptions } from "../../src/formats/bls-entry.ts";
import { type Origin, setOriginKargs } from "../../src/formats/origin.ts";
import type { Deployment, Observation } from "../../src/model/deployments.ts";
import { editKargs, type KargEdit } from "../../src/model/local-kargs.ts";
import type { MenuEntry } from "../../src/model/menu-entry.ts";
import { ENTRIES, STAGED_ENTRIES } from "../bootloader/boot-place.ts";
import { replaceEntries } from "../bootloader/entries.ts";
import type { Host } from "./host.ts";
import { removeStagedRecord, writeStagedRecord } from "./staged.ts";
import { writeOrigin } from "./state.ts";

/** What is to be written about one deployment. */
export interface KargPlan {
  readonly id: string;
  /** The command line. */
  readonly options: string;
  readonly origin: Origin;
}

/** Decides. Throws an error that names the deployment whose arguments cannot be changed so. */
export function planKargs(targets: readonly Deployment[], edits: readonly KargEdit[]): KargPlan[] {
  return targets.map(({ id, entry, state }) => {
    const name = id.slice(0, 12);
    const origin = state?.origin;
    if (origin === undefined) throw new Error(`${name} has no origin file to note it in`);
    if (entry.bootType === "uki") {
      throw new Error(`${name} is a unified kernel image: its kernel arguments are part of it`);
    }
    const { options, local } = editKargs(entry.bls.options ?? "", origin.kargs, edits);
    return { id, options, origin: setOriginKargs(origin, local) };
  });
}

/**
 * Carries out a plan. An entry may be in the live menu and in the staged one: it is changed in both.
 *
 * Order: the origins; the live menu, by exchange, in the first place last; the staged menu. If that is cut off, the same
 * command does the rest.
 */
export function changeKargs(host: Host, seen: Observation, plan: readonly KargPlan[]): void {
  for (const { id, origin } of plan) writeOrigin(host, id, origin);
  changeOptions(host, seen, plan);
}

/**
 * Gives deployments these command lines, in the live menu and then in the staged one. While that is written nothing is
 * staged: it is not replaced in one step.
 */
export function changeOptions(host: Host, seen: Observation, plan: readonly Options[]): void {
  rewrite(host, ENTRIES, seen.menu, plan);
  if (seen.stagedMenu === undefined) return;
  removeStagedRecord(host);
  rewrite(host, STAGED_ENTRIES, seen.stagedMenu, plan);
  if (seen.record !== undefined) writeStagedRecord(host, seen.record);
}

type Options = Pick<KargPlan, "id" | "options">;

function rewrite(
  host: Host,
  path: string,
  menu: readonly MenuEntry[],
  plan: readonly Options[],
): void {
  if (!menu.some(({ id }) => plan.some((one) => one.id === id))) return;
  const files = menu.map(({ id, fileName, bls }) => {
    const changed = plan.find((one) => one.id === id);
    const entry = changed === undefined ? bls : setBlsOptions(bls, changed.options);
    return { name: fileName, bytes: serializeBlsEntry(entry) };
  });
  for (const place of host.places.toReversed()) {
    replaceEntries(host.linux, place, path, files);
  }
}
