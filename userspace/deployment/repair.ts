/**
 * Writes again what boot partitions have lost: entries of the boot menu, and kernels, which the images in the repository
 * still have.
 *
 * `planRepair` decides, and writes nothing; `repair` does it. After a power failure at any moment the boot loader has the
 * menu that it had, or the new one with all kernels that it names.
 */
import { newBlsEntry, setBlsSortKey } from "../../src/formats/bls-entry.ts";
import { freeSpace } from "../../src/linux/free-space.ts";
import { HintedError } from "../../src/linux/hint.ts";
import { MENU_SIZE } from "../../src/model/boot-room.ts";
import {
  type Deployment,
  type Machine,
  type Observation,
  understand,
} from "../../src/model/deployments.ts";
import { renamed } from "../../src/model/legacy-kernels.ts";
import { distinct, type MenuEntry, ownEntry, withPrefix } from "../../src/model/menu-entry.ts";
import { entryNames } from "../../src/model/menu-plan.ts";
import { lostEntries } from "../../src/model/menu-repair.ts";
import { megabytes } from "../../src/model/size-text.ts";
import type { MenuStep } from "../../src/model/steps.ts";
import { type BootPlace, startLines } from "../bootloader/boot-place.ts";
import { nameOf, writeKernel } from "../bootloader/kernels.ts";
import { openImage } from "../oci/image.ts";
import type { Repository } from "../repository/repository.ts";
import { changeMenu } from "./change.ts";
import { containerTree } from "./container-tree.ts";
import type { Host } from "./host.ts";
import { type BootableKernel, labelOf, linuxOf, readImageTree, ukiOf } from "./image-facts.ts";
import { optionsAgain } from "./lost-options.ts";
import type { Sight } from "./observe.ts";
import { readUpdateRecord } from "./outcome.ts";
import { lackEntries, lackKernel } from "./place-sight.ts";
import { placesFor } from "./stage.ts";

/** What is lost, as far as a look at the directories tells. */
export interface Losses {
  /** Deployments without an entry, by their ids; first what runs. */
  readonly entries: readonly string[];
  /** Deployments whose kernel is not whole everywhere, though the repository has their image. */
  readonly kernels: readonly Deployment[];
  /** Places where the menu lacks entries that the first one has. */
  readonly behind: readonly BootPlace[];
}

/** Looks for it. Writes nothing. */
export function findLosses(host: Host, { seen, places }: Sight): Losses {
  const unfinished = [seen.record?.id, unfinishedUpdate(host)].filter((id) => id !== undefined);
  const there = understand(seen).deployments;
  return {
    entries: lostEntries(seen, new Set(unfinished)),
    kernels: there.filter(
      ({ id, entry }) => seen.images.has(id) && lackKernel(places, entry.directory).length > 0,
    ),
    behind: lackEntries(places),
  };
}

/** An update whose `/etc` has not been merged. */
function unfinishedUpdate(host: Host): string | undefined {
  try {
    const record = readUpdateRecord(host);
    return record?.outcome === "finalized" ? undefined : record?.id;
  } catch {
    return undefined; // status tells
  }
}

/** What is to be written. */
export interface RepairPlan {
  readonly kernels: readonly LostKernel[];
  /** Entries that are new. */
  readonly entries: readonly MenuEntry[];
  /** Whether the menu is written, everywhere. */
  readonly menu: boolean;
  /** What cannot be repaired, by deployments' ids, and why. */
  readonly hopeless: ReadonlyMap<string, unknown>;
  /** What there is to see afterwards. */
  readonly seen: Observation;
  /** Whether there was no entry at all: the boot loader itself may be lost, too. */
  readonly wasEmpty: boolean;
}

interface LostKernel {
  readonly artifact: string;
  readonly kernel: BootableKernel;
  readonly places: readonly BootPlace[];
}

/**
 * Decides. Nothing that cannot be repaired is an error here. Where boot partitions have no room for all, what runs comes
 * first, and before it what `urgent` finds among the deployments that there will be.
 */
export function planRepair(
  host: Host,
  repository: Repository,
  sight: Sight,
  urgent: (machine: Machine) => Deployment | undefined = () => undefined,
): RepairPlan {
  const { seen } = sight;
  const losses = findLosses(host, sight);
  const hopeless = new Map<string, unknown>();
  const attempt = <T>(id: string, action: () => T): T | undefined => {
    try {
      return action();
    } catch (error) {
      if (!hopeless.has(id)) hopeless.set(id, error);
      return undefined;
    }
  };
  const entries = losses.entries
    .map((id) => attempt(id, () => entryAgain(host, repository, seen, id)))
    .filter((entry) => entry !== undefined);
  const [running, ...others] = entries;
  // what runs is what the machine is to go on booting
  const first = running?.id === seen.running?.id ? entries.slice(0, 1) : [];
  const menu = [...first, ...seen.menu, ...(first.length > 0 ? others : entries)];
  const whole: Observation = { ...seen, menu };

  const machine = understand(whole);
  const wanted = urgent(machine);
  const before = [wanted, machine.booted].filter((one) => one !== undefined);
  const room = roomOf(host);
  const kernels = new Map<string, LostKernel>();
  for (const { id, entry } of new Set([...before, ...machine.deployments])) {
    const { artifact, directory } = entry;
    const name = withPrefix(directory);
    if (!seen.images.has(id) || kernels.has(name)) continue;
    if (lackKernel(sight.places, directory).length === 0) continue;
    attempt(id, () => {
      const places = lackKernel(sight.places, name);
      const kernel = kernelAgain(repository, seen, id, entry.bootType);
      takeRoom(room, places, kernel.size);
      kernels.set(name, { artifact, kernel, places });
    });
  }
  const written = new Set(kernels.keys());
  const named = menu.map((entry) => renamed(entry, (name) => written.has(name)));
  return {
    kernels: [...kernels.values()],
    entries,
    menu:
      entries.length > 0 ||
      losses.behind.length > 0 ||
      named.some((entry, index) => entry !== menu[index]),
    hopeless,
    seen: {
      ...whole,
      menu: named,
      artifacts: new Map([...seen.artifacts, ...[...written].map((name) => [name, true] as const)]),
    },
    wasEmpty: seen.menu.length === 0 && entries.length > 0,
  };
}

/** What a deployment boots with. A unified kernel image is in the container image alone, which the origin names. */
function kernelAgain(
  repository: Repository,
  seen: Observation,
  id: string,
  bootType: MenuEntry["bootType"],
): BootableKernel {
  if (bootType === "bls") return linuxOf(repository, readImageTree(repository, id));
  const manifest = originOf(seen, id)?.manifestDigest;
  if (manifest === undefined) throw new Error("its origin does not say from which image it is");
  return ukiOf(repository, containerTree(repository, openImage(repository, `@${manifest}`)));
}

function originOf({ states }: Observation, id: string) {
  return states.find((state) => state.id === id)?.origin;
}

/** The entry of a deployment that has none. */
function entryAgain(host: Host, repository: Repository, seen: Observation, id: string): MenuEntry {
  const tree = readImageTree(repository, id);
  const kernel = kernelAgain(repository, seen, id, originOf(seen, id)?.bootType ?? "bls");
  const { source, unified } = kernel;
  const { artifact } = placesFor(host, id, kernel);
  const { title = id, version = id, osId } = unified?.label ?? labelOf(repository, tree);
  const bls = newBlsEntry({
    title,
    version,
    ...startLines(host.places[0], nameOf(source, artifact)),
    ...(unified === undefined && { options: optionsAgain(host, repository, seen, id, tree) }),
  });
  const [{ fileName, sortKey }] = entryNames(1, osId, version) as [
    ReturnType<typeof entryNames>[0],
  ];
  const entry = ownEntry(
    `${fileName}.conf`,
    setBlsSortKey(bls, sortKey),
    undefined,
    (one) => one === id,
  );
  if (entry === undefined) throw new Error("no entry could be made for it");
  return entry;
}

/** What is free, in bytes. */
function roomOf({ linux, places }: Host): Map<BootPlace, number> {
  return new Map(
    places.map((place) => [place, freeSpace(linux, place.directory) - MENU_SIZE] as const),
  );
}

function takeRoom(room: Map<BootPlace, number>, places: readonly BootPlace[], size: number): void {
  const short = places.find((place) => room.get(place)! < size);
  if (short !== undefined) {
    const free = Math.max(room.get(short)!, 0);
    throw new HintedError(
      `not enough room on the boot partition ${short.path}: ${megabytes(size)} are needed for its kernel, ${megabytes(free)} are free`,
      "cfsboot delete removes a deployment that is not needed, cfsboot gc what no deployment needs",
    );
  }
  for (const place of places) room.set(place, room.get(place)! - size);
}

/** A plan's steps; none if there is nothing to do. */
export function repairSteps({ kernels, entries, menu, seen }: RepairPlan): MenuStep[] {
  return [
    ...kernels.flatMap(({ artifact, kernel: { release }, places }) =>
      places.map(({ path }) => ({ do: "write-kernel", kernel: artifact, release, path }) as const),
    ),
    ...entries.map(
      ({ id, bls }) => ({ do: "write-entry", id, options: bls.options ?? "" }) as const,
    ),
    ...(menu ? [{ do: "write-menu", menu: distinct(seen.menu).map(({ id }) => id) } as const] : []),
  ];
}

/** Writes the kernels: for a menu that is changed then. */
export function repairKernels({ linux }: Host, { kernels }: RepairPlan): void {
  for (const { artifact, kernel, places } of kernels) {
    for (const place of places) {
      writeKernel(linux, place, artifact, kernel.source, kernel.digest);
    }
  }
}

/**
 * Carries out a plan.
 *
 * Order: the kernels, each whole and durable; the menu, by exchange, in the first place last.
 */
export function repair(host: Host, plan: RepairPlan): void {
  repairKernels(host, plan);
  if (!plan.menu) return;
  const menu = distinct(plan.seen.menu).map((entry) => ({ id: entry.id, entry }));
  changeMenu(host, understand(plan.seen), { menu, dropped: [] });
}
