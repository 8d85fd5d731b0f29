/** Removes what no deployment needs: kernels, state directories, tags, and then objects of the repository. */
import { isDigest } from "../../src/formats/oci.ts";
import { tagRef } from "../../src/formats/oci-tag.ts";
import { HintedError } from "../../src/linux/hint.ts";
import { type BootGarbage, planGarbage } from "../../src/model/boot-gc.ts";
import { type Machine, understand } from "../../src/model/deployments.ts";
import { isLegacyName } from "../../src/model/legacy-kernels.ts";
import { artifactOf } from "../../src/model/menu-entry.ts";
import type { GarbageStep } from "../../src/model/steps.ts";
import { ENTRIES, STAGED_ENTRIES } from "../bootloader/boot-place.ts";
import { removeStagedEntries } from "../bootloader/entries.ts";
import { removeKernel } from "../bootloader/kernels.ts";
import { settleRewrites } from "../oci/commit.ts";
import { listTags, tagImage, untagImage } from "../oci/image.ts";
import { MANIFEST_PREFIX, manifestContentId } from "../oci/streams.ts";
import { collectGarbage, type GcResult } from "../repository/gc.ts";
import type { Repository } from "../repository/repository.ts";
import { planStorage, pruneStorage } from "./containers-storage.ts";
import type { Host } from "./host.ts";
import { findManifests } from "./lost-origins.ts";
import { migrateKernels, removeLegacyKernel } from "./migrate.ts";
import { observe, type Sight } from "./observe.ts";
import { removeStagedRecord } from "./staged.ts";
import { removeState } from "./state.ts";
import { removeUnfinished } from "./unfinished.ts";

/** Decides what goes. Writes nothing. */
export function planCollection(repository: Repository, machine: Machine): BootGarbage {
  const manifests = repository
    .listStreams()
    .filter((name) => name.startsWith(MANIFEST_PREFIX))
    .map((name) => name.slice(MANIFEST_PREFIX.length))
    .filter(isDigest);
  const tags = listTags(repository).map(({ tag }) => tag);
  return planGarbage(machine, tags, new Set(manifests), findManifests(repository, machine));
}

/** A plan's steps; none if there is nothing to do. */
export function collectionSteps(garbage: BootGarbage): GarbageStep[] {
  const { legacy, artifacts, states, tags } = garbage;
  return [
    ...(garbage.record ? [{ do: "remove-record" } as const] : []),
    ...(garbage.stagedMenu ? [{ do: "remove-staged-menu" } as const] : []),
    ...legacy.map((name) => ({ do: "rename-kernel", kernel: artifactOf(name) ?? name }) as const),
    ...artifacts.map(
      (name) => ({ do: "remove-kernel", kernel: artifactOf(name) ?? name }) as const,
    ),
    ...states.map((id) => ({ do: "remove-state", id }) as const),
    ...tags.add.map(({ tag }) => ({ do: "tag", tag }) as const),
    ...tags.remove.map((tag) => ({ do: "untag", tag }) as const),
  ];
}

/** What stays because there are boot entries that cannot be read, and may need it: a step for each of them. */
export function keptSteps({ seen, places: [{ place, menu }] }: Sight): GarbageStep[] {
  const { states, artifacts } = understand({ ...seen, unreadable: false }).leftovers;
  const kernels = artifacts.map((name) => artifactOf(name) ?? name);
  return menu.unreadable.map(({ displayName, problem }) => {
    const entry = `${place.path}/${ENTRIES}/${displayName}`;
    return { do: "keep", entry, problem, states, kernels } as const;
  });
}

/**
 * A menu without what runs is not the one that the machine was booted by, or has been lost: whoever takes it for what is
 * needed removes all else.
 */
function requireRunningKept({ running }: Host, { roots }: BootGarbage): void {
  if (running === undefined || roots.includes(running.id)) return;
  throw new HintedError(
    `what runs, ${running.id.slice(0, 12)}, is not in the boot menu: nothing is removed`,
    "if the boot partition is the one that the machine was booted from: cfsboot rollback booted writes the entry again",
  );
}

/**
 * Carries out a plan on the boot partitions and the state, not on objects. Nothing here is needed by what can be booted.
 *
 * Order: what was cut off; the record; the staged menu; names of kernels; kernels; state directories; tags.
 */
export function collectBootFiles(host: Host, repository: Repository, garbage: BootGarbage): void {
  requireRunningKept(host, garbage);
  const { linux } = host;
  removeUnfinished(host);
  if (garbage.record) removeStagedRecord(host);
  for (const place of host.places) {
    if (garbage.stagedMenu) removeStagedEntries(linux, place, STAGED_ENTRIES);
  }
  migrateKernels(host, repository, garbage.legacy);
  for (const name of garbage.artifacts) {
    if (isLegacyName(name)) removeLegacyKernel(host, name);
    else for (const place of host.places) removeKernel(linux, place, name);
  }
  for (const id of garbage.states) removeState(host, id);
  for (const { tag, manifestDigest } of garbage.tags.add) {
    tagImage(repository, manifestDigest, tag);
  }
  for (const tag of garbage.tags.remove) untagImage(repository, tag);
}

/**
 * All of it: the plan anew, boot files, state and tags, bootc's containers-storage, then the repository's objects. Waits for
 * who uses the repository.
 * `warn` is told of errors that are no reason not to do it.
 */
export function collect(
  host: Host,
  repository: Repository,
  onWait?: () => void,
  warn: (error: unknown) => void = () => {},
): GcResult {
  const machine = understand(observe(host, repository).seen);
  const garbage = planCollection(repository, machine);
  collectBootFiles(host, repository, garbage);
  try {
    pruneStorage(host, planStorage(host, repository, machine), warn);
  } catch (error) {
    warn(error);
  }
  return collectGarbage(repository, {
    ...options(host, repository, garbage, onWait),
    prepare: () => settleRewrites(repository, warn),
  });
}

/** What of the repository's objects would go once the plan is carried out. Removes nothing. */
export function previewCollection(
  host: Host,
  repository: Repository,
  onWait?: () => void,
): GcResult {
  const garbage = planCollection(repository, understand(observe(host, repository).seen));
  requireRunningKept(host, garbage);
  const { roots, ...more } = options(host, repository, garbage, onWait);
  const tagged = garbage.tags.add.map(({ manifestDigest }) => manifestContentId(manifestDigest));
  return collectGarbage(repository, {
    ...more,
    roots: [...roots, ...tagged],
    without: garbage.tags.remove.map(tagRef),
    dryRun: true,
  });
}

function options(
  host: Host,
  repository: Repository,
  garbage: BootGarbage,
  onWait: (() => void) | undefined,
) {
  const present = new Set(repository.listImages());
  const running = host.running === undefined ? [] : [host.running.id];
  const roots = [...new Set([...garbage.roots, ...running])].filter((id) => present.has(id));
  return { roots, ...(onWait === undefined ? {} : { onWait }) };
}
