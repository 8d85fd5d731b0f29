/** Looks at a machine's deployments. Writes nothing. */
import { parseStagedRecord } from "../../src/formats/staged-record.ts";
import { ifThere } from "../../src/linux/directories.ts";
import { readFile } from "../../src/linux/files.ts";
import type { Observation } from "../../src/model/deployments.ts";
import { type GrubCounter, grubCounter, withGrubCounter } from "../../src/model/grub-counter.ts";
import { type BootPlace, ENTRIES, STAGED_ENTRIES } from "../bootloader/boot-place.ts";
import { type ForeignFile, type Menu, readMenu } from "../bootloader/entries.ts";
import { readGrubEnv } from "../bootloader/grub-counter.ts";
import type { Repository } from "../repository/repository.ts";
import { type Host, STAGED_RECORD } from "./host.ts";
import { lookAtPlaces, type PlaceSights, sorted } from "./place-sight.ts";
import { readStates } from "./state.ts";

const MAX_RECORD = 1 << 16;

/** What there is to see, and what does not belong to us. */
export interface Sight {
  readonly seen: Observation;
  /** Entries of others in the live menu. */
  readonly foreign: readonly ForeignFile[];
  /** What each boot partition holds. */
  readonly places: PlaceSights;
  /** What could not be made sense of, for people. */
  readonly warnings: readonly string[];
}

/** Looks at a machine. */
export function observe(host: Host, repository: Repository): Sight {
  const [place] = host.places;
  const warnings: string[] = [];
  const states = readStates(host);
  const ids = new Set(states.map(({ id }) => id));
  const known = (id: string) => ids.has(id);
  const counter = host.loader === "grub" ? readCounter(host, warnings) : undefined;
  const places = lookAtPlaces(host, known);
  const [{ menu: live, kernels: firstKernels }, ...others] = places;
  const staged = readMenu(host.linux, place, STAGED_ENTRIES, known) ?? leftElsewhere(host);
  // what only another place has is no deployment's, but is there
  const kernels = [
    ...others.flatMap((other) => other.kernels).map(({ name }) => ({ name, complete: false })),
    ...firstKernels,
  ];
  for (const { place, menu } of places) warnings.push(...damagedEntries(place, ENTRIES, menu));
  if (staged !== undefined) warnings.push(...damagedEntries(place, STAGED_ENTRIES, staged));
  const unreadable = live.unreadable.length > 0;
  if (unreadable) {
    warnings.push("As long as an entry cannot be read, nothing is removed that it may need.");
  }
  return {
    seen: {
      running: host.running,
      menu: withGrubCounter(live.own, counter),
      stagedMenu: staged === undefined ? undefined : sorted(staged.own, host.loader),
      record: readRecord(host, warnings),
      states,
      artifacts: new Map(kernels.map(({ name, complete }) => [name, complete])),
      images: new Set(repository.listImages()),
      unreadable,
    },
    foreign: live.foreign,
    places,
    warnings,
  };
}

function damagedEntries({ path }: BootPlace, directory: string, { unreadable }: Menu): string[] {
  return unreadable.map(
    ({ displayName, problem }) =>
      `The boot entry ${path}/${directory}/${displayName} is damaged: ${problem}.`,
  );
}

/** What is left of a staged menu if only other places than the first have one: nothing that could be finalized. */
function leftElsewhere({ linux, places }: Host): Menu | undefined {
  const [, ...others] = places;
  const found = others.some((place) => readMenu(linux, place, STAGED_ENTRIES, () => true));
  return found ? { own: [], foreign: [], unreadable: [] } : undefined;
}

/** What GRUB has counted. */
function readCounter({ linux, places }: Host, warnings: string[]): GrubCounter | undefined {
  try {
    const env = readGrubEnv(linux, places[0]);
    return env && grubCounter(env);
  } catch (error) {
    warnings.push((error as Error).message);
    return undefined;
  }
}

/** The record of what is staged. One that makes no sense is told, and is like none. */
function readRecord({ linux, run }: Host, warnings: string[]): Observation["record"] {
  if (run === undefined) return undefined;
  const bytes = ifThere(() => readFile(linux, run, STAGED_RECORD, MAX_RECORD));
  if (bytes === undefined) return undefined;
  try {
    return parseStagedRecord(bytes, `/run/composefs/${STAGED_RECORD}`);
  } catch (error) {
    warnings.push((error as Error).message);
    return undefined;
  }
}
