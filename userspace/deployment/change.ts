/** Changes of the boot menu that take effect at once: rollback, delete; and what is pinned. */
import { setOriginPinned } from "../../src/formats/origin.ts";
import type { Deployment, Machine } from "../../src/model/deployments.ts";
import { afterMenuChange, grubCounter } from "../../src/model/grub-counter.ts";
import { menuFiles, namesOfEntry } from "../../src/model/menu-files.ts";
import type { MenuPlan } from "../../src/model/menu-plan.ts";
import { ENTRIES, STAGED_ENTRIES } from "../bootloader/boot-place.ts";
import { removeStagedEntries, replaceEntries } from "../bootloader/entries.ts";
import { changeGrubEnv } from "../bootloader/grub-counter.ts";
import type { Host } from "./host.ts";
import { removeStagedRecord } from "./staged.ts";
import { writeOrigin } from "./state.ts";

/**
 * Puts a planned menu in place. Nothing in it is new. If what is staged is among what is dropped, it stays staged until the
 * menu has changed: if that fails, nothing is lost.
 *
 * Order: the menu, by exchange, in the first place last; what GRUB counts; the record and the staged menu, if they go.
 */
export function changeMenu(host: Host, machine: Machine, { menu, dropped }: MenuPlan): void {
  const { linux } = host;
  const unstaged = machine.staged !== undefined && dropped.includes(machine.staged);
  const [first] = menu;
  const files =
    first?.entry === undefined ? [] : menuFiles(menu, namesOfEntry(first.entry), undefined);
  for (const place of host.places.toReversed()) {
    replaceEntries(linux, place, ENTRIES, files);
  }
  if (host.loader === "grub") {
    changeGrubEnv(linux, host.places[0], (env) => {
      const counter = grubCounter(env);
      const ids = menu.map(({ id }) => id);
      return counter === undefined ? env : afterMenuChange(env, counter, ids);
    });
  }
  if (unstaged) removeStagedRecord(host);
  if (unstaged || machine.leftovers.stagedMenu) {
    for (const place of host.places) removeStagedEntries(linux, place, STAGED_ENTRIES);
  }
}

/** Pins a deployment, or ends that. A deployment without an origin file cannot be pinned. */
export function setPinned(host: Host, { id, state }: Deployment, pinned: boolean): void {
  const origin = state?.origin;
  if (origin === undefined) throw new Error(`${id.slice(0, 12)} has no origin file to note it in`);
  if (origin.pinned !== pinned) writeOrigin(host, id, setOriginPinned(origin, pinned));
}
