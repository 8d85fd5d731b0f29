/** One look at what the boot partitions hold of ours, and what some of them lack that the first one has. */
import { serializeBlsEntry } from "../../src/formats/bls-entry.ts";
import { compareGrub, compareSystemdBoot } from "../../src/model/boot-menu-order.ts";
import type { Loader } from "../../src/model/loader.ts";
import { type MenuEntry, withPrefix } from "../../src/model/menu-entry.ts";
import { type BootPlace, ENTRIES } from "../bootloader/boot-place.ts";
import { type Menu, readMenu } from "../bootloader/entries.ts";
import { listKernels, type StoredKernel } from "../bootloader/kernels.ts";
import type { Host } from "./host.ts";

export interface PlaceSight {
  readonly place: BootPlace;
  /** The live menu; its own entries are in the order in which the boot loader shows them. */
  readonly menu: Menu;
  readonly kernels: readonly StoredKernel[];
}

/** All places, in their order. */
export type PlaceSights = readonly [PlaceSight, ...PlaceSight[]];

type Looking = Pick<Host, "linux" | "loader">;

/** Looks at all places. `known` tells which deployments there are. Writes nothing. */
export function lookAtPlaces(host: Host, known: (id: string) => boolean): PlaceSights {
  const look = (place: BootPlace): PlaceSight => ({
    place,
    menu: menuAt(host, place, known),
    kernels: listKernels(host.linux, place),
  });
  const [first, ...others] = host.places;
  return [look(first), ...others.map(look)];
}

const NO_MENU: Menu = { own: [], foreign: [], unreadable: [] };

/** The live menu of a place; an empty one if there is none. */
export function menuAt(
  { linux, loader }: Looking,
  place: BootPlace,
  known: (id: string) => boolean,
): Menu {
  const menu = readMenu(linux, place, ENTRIES, known) ?? NO_MENU;
  return { ...menu, own: sorted(menu.own, loader) };
}

/** Entries as the boot loader shows them. */
export function sorted(entries: readonly MenuEntry[], loader: Loader): MenuEntry[] {
  const compare = loader === "systemd-boot" ? compareSystemdBoot : compareGrub;
  const position = ({ fileName, bls }: MenuEntry) => ({ ...bls, fileName });
  return entries.toSorted((a, b) => compare(position(a), position(b)));
}

/** Places that cannot boot every deployment of the first one's menu, as they have no entry of it. */
export function lackEntries([first, ...others]: PlaceSights): BootPlace[] {
  const ids = first.menu.own.map(({ id }) => id);
  return others
    .filter(({ menu }) => !ids.every((id) => menu.own.some((entry) => entry.id === id)))
    .map(({ place }) => place);
}

/** Places that have not got the kernel of this directory, or not whole. */
export function lackKernel(sights: PlaceSights, directory: string): BootPlace[] {
  return sights.filter((sight) => !hasKernel(sight, directory)).map(({ place }) => place);
}

function hasKernel({ kernels }: PlaceSight, directory: string): boolean {
  return kernels.some(({ name, complete }) => complete && name === directory);
}

/** A place that differs from the first one. */
export interface Difference {
  readonly place: BootPlace;
  /** Names of the kernels that it lacks of the first one's menu. */
  readonly kernels: readonly string[];
}

/** Places whose menu is not that of the first one to the letter, or that lack a kernel of it which the first one has. */
export function differences([first, ...others]: PlaceSights): Difference[] {
  const text = textOf(first.menu);
  return others.flatMap((sight) => {
    const missing = first.menu.own.filter(
      ({ directory }) =>
        directory === withPrefix(directory) &&
        hasKernel(first, directory) &&
        !hasKernel(sight, directory),
    );
    if (missing.length === 0 && textOf(sight.menu) === text) return [];
    const kernels = [...new Set(missing.map(({ directory }) => directory))];
    return [{ place: sight.place, kernels }];
  });
}

function textOf({ own }: Menu): string {
  const texts = own.map(
    ({ fileName, bls }) => `${fileName}\n${Buffer.from(serializeBlsEntry(bls)).toString("latin1")}`,
  );
  return texts.sort().join("\n");
}
