/**
 * Finalizes what is staged, when the machine shuts down: merges `/etc`, then puts the staged boot menu in place of the
 * present one. Until that one atomic step the machine boots what it booted before.
 */
import { serializeBlsEntry } from "../../src/formats/bls-entry.ts";
import { joinBootCount, splitBootCount } from "../../src/formats/boot-count.ts";
import { withDirectory } from "../../src/linux/directories.ts";
import { errorText } from "../../src/linux/error-text.ts";
import { type Deployment, type Observation, understand } from "../../src/model/deployments.ts";
import type { EtcPlan, EtcStrategy } from "../../src/model/etc/merge.ts";
import { endGrubCounter, grubCounter, startGrubCounter } from "../../src/model/grub-counter.ts";
import type { MenuEntry } from "../../src/model/menu-entry.ts";
import { type MenuFile, menuFiles, namesOfEntry } from "../../src/model/menu-files.ts";
import { ENTRIES, STAGED_ENTRIES } from "../bootloader/boot-place.ts";
import { removeStagedEntries, replaceEntries } from "../bootloader/entries.ts";
import { changeGrubEnv } from "../bootloader/grub-counter.ts";
import type { Repository } from "../repository/repository.ts";
import { ETC_REPORT, mergeEtcInto } from "./etc/merge.ts";
import type { EtcPlace } from "./etc/scan.ts";
import { DEPLOY, type Host } from "./host.ts";
import { imageEtc } from "./image-etc.ts";
import { readImageTree } from "./image-facts.ts";
import { observe } from "./observe.ts";
import { writeUpdateRecord } from "./outcome.ts";
import { removeStagedRecord } from "./staged.ts";

export interface FinalizeOptions {
  /** The machine's `/etc`. */
  readonly etc: EtcPlace;
  readonly strategy: EtcStrategy;
}

export type Finalized =
  | { readonly done: true; readonly id: string; readonly etc: EtcPlan }
  | { readonly done: false; readonly why: string };

/**
 * Finalizes what is staged and not only downloaded. Can be repeated after it failed, or was cut off, anywhere.
 *
 * Order: `/etc` of the new deployment, built aside and exchanged; what GRUB counts; the boot menu, by exchange, in the first
 * place last; the staged menu and its record go; on disk it is recorded as finalized, or why it failed.
 */
export function finalize(host: Host, repository: Repository, options: FinalizeOptions): Finalized {
  const { seen } = observe(host, repository);
  const machine = understand(seen);
  const { staged } = machine;
  if (staged === undefined) return { done: false, why: "nothing is staged" };
  if (staged.downloadOnly) return { done: false, why: "what is staged is only downloaded" };
  const { id } = staged;
  const outcome = { id, stagedIn: host.bootId, locked: false };
  try {
    const etc = finalizeStaged(host, repository, seen, staged, machine.booted, options);
    writeUpdateRecord(host, { ...outcome, outcome: "finalized", error: undefined });
    return { done: true, id, etc };
  } catch (error) {
    writeUpdateRecord(host, { ...outcome, outcome: "failed", error: errorText(error) });
    throw error;
  }
}

function finalizeStaged(
  host: Host,
  repository: Repository,
  seen: Observation,
  staged: Deployment,
  booted: Deployment | undefined,
  options: FinalizeOptions,
): EtcPlan {
  if (booted === undefined) throw new Error("what runs is not in the boot menu");
  const etcOf = (id: string) => ({
    name: `/etc of ${id.slice(0, 12)}`,
    tree: imageEtc(repository, readImageTree(repository, id)),
  });
  const places = { pristine: etcOf(booted.id), current: options.etc, next: etcOf(staged.id) };
  const { linux, sysroot } = host;
  const etc = withDirectory(linux, sysroot, `${DEPLOY}/${staged.id}`, (directory) =>
    mergeEtcInto(linux, places, options.strategy, { directory, name: "etc", report: ETC_REPORT }),
  );

  const pinned = understand(seen).deployments.filter((one) => one.pinned);
  const files = currentFiles(seen.stagedMenu ?? [], staged.id, seen.menu, pinned);
  if (host.loader === "grub") countByGrub(host, staged);
  for (const place of host.places.toReversed()) {
    replaceEntries(linux, place, ENTRIES, files);
  }
  for (const place of host.places) removeStagedEntries(linux, place, STAGED_ENTRIES);
  removeStagedRecord(host);
  return etc;
}

/** What is counted is not the first of the menu yet, so it means nothing until that has changed. */
function countByGrub({ linux, places }: Host, { id, entry: { tries } }: Deployment): void {
  changeGrubEnv(linux, places[0], (env) => {
    if (tries !== undefined) return startGrubCounter(env, id, tries);
    return grubCounter(env) === undefined ? env : endGrubCounter(env);
  });
}

/**
 * The staged menu as it is to be now: of what could be booted all the time, boots were counted since it was staged; what was
 * deleted since then is not to come back; and what was pinned since then stays.
 */
export function currentFiles(
  stagedMenu: readonly MenuEntry[],
  stagedId: string,
  menu: readonly MenuEntry[],
  pinned: readonly Pick<Deployment, "id" | "entry">[] = [],
): MenuFile[] {
  const entries = stagedMenu.flatMap((entry) => {
    const live = menu.find(({ id }) => id === entry.id);
    if (live === undefined && entry.id !== stagedId) return [];
    return [{ ...entry, tries: entry.id === stagedId ? entry.tries : live!.tries }];
  });
  const late = pinned.filter(({ id }) => entries.every((entry) => entry.id !== id));
  if (late.length > 0) {
    const all = [...entries, ...late.map(({ entry }) => entry)];
    const planned = all.map((entry) => ({ id: entry.id, entry }));
    return menuFiles(planned, namesOfEntry(all[0]!), undefined);
  }
  return entries.map(({ fileName, tries, bls }) => ({
    name: joinBootCount(splitBootCount(fileName).name, tries),
    bytes: serializeBlsEntry(bls),
  }));
}
