/** Machines with several boot partitions, one on each disk: what the first one has, all are to have. */
import { serializeBlsEntry } from "../../src/formats/bls-entry.ts";
import { artifactOf } from "../../src/model/menu-entry.ts";
import { ENTRIES } from "../bootloader/boot-place.ts";
import { replaceEntries } from "../bootloader/entries.ts";
import { kernelAt, measureKernel, writeKernel } from "../bootloader/kernels.ts";
import type { Host } from "./host.ts";
import { type Difference, differences, lookAtPlaces, menuAt } from "./place-sight.ts";

type Places = Host["places"];

/** What boots is no question here: an entry is as good as any. */
const ANY = () => true;

/**
 * The places, first the one that counts. A power failure may have changed the menu of some only, and the firmware starts from
 * any: the menu counts that puts first what runs, else one that has it, else the first.
 */
export function leadingFirst(host: Host, running: string): Places {
  const { places } = host;
  if (places.length === 1) return places;
  const menus = places.map((place) => menuAt(host, place, ANY).own.map(({ id }) => id));
  const begins = menus.findIndex(([first]) => first === running);
  const has = menus.findIndex((menu) => menu.includes(running));
  const first = places[begins >= 0 ? begins : Math.max(has, 0)]!;
  return [first, ...places.filter((place) => place !== first)];
}

/** The places that are not in step with the first one. Writes nothing. */
export function outOfStep(host: Host): Difference[] {
  return host.places.length === 1 ? [] : differences(lookAtPlaces(host, ANY));
}

/** Gives all places the menu of the first one, and its kernels before that. */
export function bringInStep(host: Host): void {
  const { linux, places } = host;
  if (places.length === 1) return;
  const sights = lookAtPlaces(host, ANY);
  const files = sights[0].menu.own.map(({ fileName, bls }) => ({
    name: fileName,
    bytes: serializeBlsEntry(bls),
  }));
  for (const { place, kernels } of differences(sights)) {
    for (const name of kernels) {
      const source = kernelAt(linux, places[0], name);
      writeKernel(linux, place, artifactOf(name)!, source, measureKernel(source).digest);
    }
    replaceEntries(linux, place, ENTRIES, files);
  }
}
