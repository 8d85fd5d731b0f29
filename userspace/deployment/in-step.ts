/** Machines with several boot partitions, one on each disk: what the first one has, all are to have. */
import { serializeBlsEntry } from "../../src/formats/bls-entry.ts";
import { artifactName, type MenuEntry } from "../../src/model/menu-entry.ts";
import { type BootPlace, ENTRIES } from "../bootloader/boot-place.ts";
import { readMenu, replaceEntries } from "../bootloader/entries.ts";
import { kernelAt, listKernels, measureKernel, writeKernel } from "../bootloader/kernels.ts";
import type { Host } from "./host.ts";
import { sorted } from "./observe.ts";

type Places = Host["places"];

/**
 * The places, first the one that counts. A power failure may have changed the menu of some only, and the firmware starts from
 * any: the menu counts that puts first what runs, else one that has it, else the first.
 */
export function leadingFirst({ linux, places, loader }: Host, running: string): Places {
  if (places.length === 1) return places;
  const menus = places.map((place) => menuOf({ linux, loader }, place).map(({ id }) => id));
  const begins = menus.findIndex(([first]) => first === running);
  const has = menus.findIndex((menu) => menu.includes(running));
  const first = places[begins >= 0 ? begins : Math.max(has, 0)]!;
  return [first, ...places.filter((place) => place !== first)];
}

function menuOf({ linux, loader }: Pick<Host, "linux" | "loader">, place: BootPlace): MenuEntry[] {
  return sorted(readMenu(linux, place, ENTRIES, () => true)?.own ?? [], loader);
}

/** Places that have another menu than the first one, or not its kernels. Writes nothing. */
export function placesBehind(host: Host): BootPlace[] {
  const [first, ...others] = host.places;
  if (others.length === 0) return [];
  const menu = menuOf(host, first);
  const text = textOf(menu);
  return others.filter(
    (place) => textOf(menuOf(host, place)) !== text || missingKernels(host, place, menu).length > 0,
  );
}

function textOf(menu: readonly MenuEntry[]): string {
  const texts = menu.map(
    ({ fileName, bls }) => `${fileName}\n${Buffer.from(serializeBlsEntry(bls)).toString("latin1")}`,
  );
  return texts.sort().join("\n");
}

/** Artifacts of the menu that a place has not, and the first one has. */
function missingKernels(host: Host, place: BootPlace, menu: readonly MenuEntry[]): string[] {
  const complete = (at: BootPlace) =>
    new Set(listKernels(host.linux, at).flatMap((one) => (one.complete ? [one.name] : [])));
  const [there, here] = [complete(host.places[0]), complete(place)];
  const missing = menu.filter(
    ({ artifact, directory }) =>
      directory === artifactName(artifact) && there.has(directory) && !here.has(directory),
  );
  return [...new Set(missing.map(({ artifact }) => artifact))];
}

/** Gives all places the menu of the first one, and its kernels before that. */
export function bringInStep(host: Host): void {
  const { linux, places } = host;
  const menu = menuOf(host, places[0]);
  const files = menu.map(({ fileName, bls }) => ({
    name: fileName,
    bytes: serializeBlsEntry(bls),
  }));
  for (const place of placesBehind(host)) {
    for (const artifact of missingKernels(host, place, menu)) {
      const source = kernelAt(linux, places[0], artifactName(artifact));
      writeKernel(linux, place, artifact, source, measureKernel(source).digest);
    }
    replaceEntries(linux, place, ENTRIES, files);
  }
}
