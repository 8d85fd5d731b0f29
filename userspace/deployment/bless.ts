/** Boots that went well: the running deployment is counted no longer. */
import { serializeBlsEntry } from "../../src/formats/bls-entry.ts";
import { splitBootCount } from "../../src/formats/boot-count.ts";
import type { GrubEnv } from "../../src/formats/grubenv.ts";
import { understand } from "../../src/model/deployments.ts";
import { afterBoot, grubCounter } from "../../src/model/grub-counter.ts";
import type { MenuEntry } from "../../src/model/menu-entry.ts";
import { isSoftRebooted } from "../../src/model/soft-reboot.ts";
import { type BootPlace, ENTRIES } from "../bootloader/boot-place.ts";
import { readMenu, replaceEntries } from "../bootloader/entries.ts";
import { changeGrubEnv, readGrubEnv } from "../bootloader/grub-counter.ts";
import type { Repository } from "../repository/repository.ts";
import { changeMenu } from "./change.ts";
import type { Host } from "./host.ts";
import { bringInStep, outOfStep } from "./in-step.ts";
import { observe } from "./observe.ts";
import { sorted } from "./place-sight.ts";

/**
 * What there is to do once the machine has come up, in words: the running deployment is counted, or GRUB has counted a boot
 * that was none of what it counts, or boot partitions differ. Writes nothing.
 */
export function blessSteps(host: Host): string[] {
  if (host.running === undefined) return [];
  const { id } = host.running;
  const name = id.slice(0, 12);
  const tried = wasTried(host, id);
  if (host.loader === "grub") {
    const change = tried ? grubChange(host, id) : undefined;
    if (change === undefined) return [];
    return change === "settle"
      ? ["let the boot menu begin with what GRUB has fallen back to"]
      : [`note in GRUB's environment block that ${name} has come up`];
  }
  const [first] = host.places;
  return [
    ...host.places
      .filter((place) => tried && countedEntries(host, place, id).length > 0)
      .map(({ path }) => `count the boots of ${name} no longer in ${path}`),
    ...outOfStep(host).map(
      ({ place }) => `give ${place.path} the menu and the kernels of ${first.path}`,
    ),
  ];
}

/**
 * The machine has come up. Can be repeated; the last place comes first, so that the boot loader's is done last. Then all
 * get what the first one has.
 */
export function bless(host: Host, repository: Repository): void {
  if (host.running === undefined) return;
  const { id } = host.running;
  const tried = wasTried(host, id);
  if (host.loader === "grub") {
    if (tried) blessGrub(host, repository, id);
    return;
  }
  if (tried) for (const place of host.places.toReversed()) forgetCount(host, place, id);
  bringInStep(host);
}

/**
 * Whether the boot loader has tried what runs. After a soft reboot it has not: nothing says that its entry, its kernel and its
 * initramfs on the boot partition would come up, so they are counted until they have.
 */
function wasTried({ cmdline }: Host, running: string): boolean {
  return !isSoftRebooted(cmdline, running);
}

function countedEntries(host: Host, place: BootPlace, running: string): readonly MenuEntry[] {
  const own = readMenu(host.linux, place, ENTRIES, (id) => id === running)?.own ?? [];
  return own.filter(({ id, tries }) => id === running && tries !== undefined);
}

/** By replacing the menu: one that is renamed in it may lead nowhere after a power failure (see `bootloader/discard.ts`). */
function forgetCount(host: Host, place: BootPlace, running: string): void {
  if (countedEntries(host, place, running).length === 0) return;
  const own = readMenu(host.linux, place, ENTRIES, (id) => id === running)?.own ?? [];
  const files = new Map<string, Uint8Array>();
  for (const { id, fileName, bls } of own) {
    const name = id === running ? splitBootCount(fileName).name : fileName;
    files.set(name, serializeBlsEntry(bls));
  }
  const menu = [...files].map(([name, bytes]) => ({ name, bytes }));
  replaceEntries(host.linux, place, ENTRIES, menu);
}

type Change = "settle" | Parameters<typeof changeGrubEnv>[2];

/** What there is to do; `settle`: GRUB has given up a deployment, which the menu is to say, too. */
function grubChange(host: Host, running: string): Change | undefined {
  const { linux, places } = host;
  const env = readGrubEnv(linux, places[0]);
  const counter = env && grubCounter(env);
  if (env === undefined || counter === undefined) return undefined;
  const own = readMenu(linux, places[0], ENTRIES, (id) => id === running)?.own ?? [];
  const menu = sorted(own, host.loader).map(({ id }) => id);
  if (counter.fellBack && counter.id !== running && counter.id === menu[0]) return "settle";
  const change = (now: GrubEnv) => afterBoot(now, counter, running, menu);
  return change(env) === env ? undefined : change;
}

function blessGrub(host: Host, repository: Repository, running: string): void {
  const change = grubChange(host, running);
  if (change === undefined) return;
  if (change !== "settle") {
    changeGrubEnv(host.linux, host.places[0], change);
    return;
  }
  const machine = understand(observe(host, repository).seen);
  const menu = machine.deployments.filter((one) => one !== machine.staged);
  changeMenu(host, machine, { menu: menu.map(({ id, entry }) => ({ id, entry })), dropped: [] });
}
