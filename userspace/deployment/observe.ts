/** Looks at a machine's deployments. Writes nothing. */
import { parseStagedRecord } from "../../src/formats/staged-record.ts";
import { ifThere } from "../../src/linux/directories.ts";
import { readFile } from "../../src/linux/files.ts";
import { compareGrub, compareSystemdBoot } from "../../src/model/boot-menu-order.ts";
import type { Observation } from "../../src/model/deployments.ts";
import { type GrubCounter, grubCounter, withGrubCounter } from "../../src/model/grub-counter.ts";
import type { MenuEntry } from "../../src/model/menu-entry.ts";
import { ENTRIES, STAGED_ENTRIES } from "../bootloader/boot-place.ts";
import { type ForeignFile, type Menu, readMenu } from "../bootloader/entries.ts";
import { readGrubEnv } from "../bootloader/grub-counter.ts";
import { listKernels } from "../bootloader/kernels.ts";
import type { Repository } from "../repository/repository.ts";
import { type Host, type Loader, STAGED_RECORD } from "./host.ts";
import { readStates } from "./state.ts";

const MAX_RECORD = 1 << 16;

/** What there is to see, and what does not belong to us. */
export interface Sight {
  readonly seen: Observation;
  /** Entries of others in the live menu. */
  readonly foreign: readonly ForeignFile[];
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
  const read = (path: string) => readMenu(host.linux, place, path, known);
  const counter = host.loader === "grub" ? readCounter(host, warnings) : undefined;
  const live = read(ENTRIES);
  const staged = read(STAGED_ENTRIES) ?? leftElsewhere(host);
  // what only another place has is no deployment's, but is there
  const kernels = [
    ...host.places
      .slice(1)
      .flatMap((other) => listKernels(host.linux, other))
      .map(({ name }) => ({ name, complete: false })),
    ...listKernels(host.linux, place),
  ];
  return {
    seen: {
      running: host.running,
      menu: withGrubCounter(sorted(live?.own ?? [], host.loader), counter),
      stagedMenu: staged === undefined ? undefined : sorted(staged.own, host.loader),
      record: readRecord(host, warnings),
      states,
      artifacts: new Map(kernels.map(({ name, complete }) => [name, complete])),
      images: new Set(repository.listImages()),
    },
    foreign: live?.foreign ?? [],
    warnings,
  };
}

/** What is left of a staged menu if only other places than the first have one: nothing that could be finalized. */
function leftElsewhere({ linux, places }: Host): Menu | undefined {
  const [, ...others] = places;
  const found = others.some((place) => readMenu(linux, place, STAGED_ENTRIES, () => true));
  return found ? { own: [], foreign: [] } : undefined;
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

/** Entries as the boot loader shows them. */
export function sorted(entries: readonly MenuEntry[], loader: Loader): MenuEntry[] {
  const compare = loader === "systemd-boot" ? compareSystemdBoot : compareGrub;
  const position = ({ fileName, bls }: MenuEntry) => ({ ...bls, fileName });
  return entries.toSorted((a, b) => compare(position(a), position(b)));
}
