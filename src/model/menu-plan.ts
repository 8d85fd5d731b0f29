/**
 * What the boot menu shall be: which deployments are in it, in which order, and what their files and sort keys are called
 * so that every boot loader shows them in this order.
 */
import type { Deployment, Machine } from "./deployments.ts";
import type { MenuEntry } from "./menu-entry.ts";

/** A menu, first the one that is booted by default, and what goes for it. */
export interface MenuPlan {
  readonly menu: readonly PlannedEntry[];
  /** Deployments that can no longer be booted. */
  readonly dropped: readonly Deployment[];
}

export interface PlannedEntry {
  readonly id: string;
  /** The entry as it is; `undefined` for the one that is new. */
  readonly entry: MenuEntry | undefined;
}

export class PlanError extends Error {
  /** What a person can do about it. */
  readonly hint: string | undefined;

  constructor(message: string, hint?: string) {
    super(message);
    this.hint = hint;
  }
}

/**
 * A new deployment comes first, then the booted one, then the others as they are, so many that there are `keep` (at least
 * 2) besides the pinned ones. A staged one, that has not been booted yet, goes; where it is pinned, that is refused.
 */
export function planNew(machine: Machine, id: string, keep: number): MenuPlan {
  const { booted, staged } = machine;
  if (staged?.id !== id) requireReplaceable(machine);
  const present = machine.deployments.filter((one) => one.id !== id && one !== staged);
  const order = booted === undefined ? present : [booted, ...present.filter((o) => o !== booted)];
  let free = Math.max(keep, 2) - 1;
  const kept = order.filter((one) => {
    if (one.pinned) return true;
    if (one !== booted && free <= 0) return false;
    free--;
    return true;
  });
  const dropped = [...machine.deployments].filter((one) => one.id !== id && !kept.includes(one));
  return {
    menu: [{ id, entry: undefined }, ...kept.map(({ id, entry }) => ({ id, entry }))],
    dropped,
  };
}

/** Throws where something is staged that another update must not replace. */
export function requireReplaceable({ staged }: Machine): void {
  if (staged === undefined || !staged.pinned) return;
  throw new PlanError(
    `${staged.id.slice(0, 12)} is staged and pinned, and would be lost`,
    "reboot into it first; or cfsboot unpin staged",
  );
}

/**
 * `target` comes first, or, if none is named, the one to go back to: the rollback, or the booted one if it is not first
 * now. Refuses to drop a staged deployment unless `discardStaged`.
 */
export function planRollback(
  machine: Machine,
  target: Deployment | undefined,
  discardStaged: boolean,
): MenuPlan {
  const { staged, booted } = machine;
  const first = target ?? (machine.rollbackQueued ? booted : machine.rollback);
  if (first === undefined) {
    throw new PlanError("there is no deployment to go back to", "cfsboot status");
  }
  if (first === staged) {
    throw new PlanError("it is staged already: it is booted next", "cfsboot status");
  }
  if (staged !== undefined && !discardStaged) {
    throw new PlanError(
      `${staged.id.slice(0, 12)} is staged, and would be lost`,
      "--discard-staged drops it; or reboot into it first",
    );
  }
  const rest = machine.deployments.filter((one) => one !== first && one !== staged);
  // The one that runs comes second: whoever goes back and forth changes the first two.
  const order = [first, ...rest.filter((o) => o === booted), ...rest.filter((o) => o !== booted)];
  return {
    menu: order.map(({ id, entry }) => ({ id, entry })),
    dropped: staged === undefined ? [] : [staged],
  };
}

/** All but `target`, which may not be the booted one. Of a staged one, nothing in the menu changes. */
export function planDelete(machine: Machine, target: Deployment): MenuPlan {
  if (target === machine.booted) {
    throw new PlanError("it is booted: what runs cannot be removed", "boot another one first");
  }
  if (target.pinned) {
    throw new PlanError("it is pinned", `cfsboot unpin ${target.id.slice(0, 12)}`);
  }
  const menu = machine.deployments.filter((one) => one !== target && one !== machine.staged);
  return { menu: menu.map(({ id, entry }) => ({ id, entry })), dropped: [target] };
}

/** The names of one entry: they put it in its place. */
export interface EntryNames {
  /** Without `.conf` and without a boot counter. */
  readonly fileName: string;
  readonly sortKey: string;
}

/** How names of the menu's files begin. */
const FILE_PREFIX = "bootc_";

/**
 * Names for the entries of a menu of `count`, in its order.
 *
 * All sort keys and all file names of one menu differ in nothing but their number: systemd-boot sorts the keys upwards,
 * GRUB the file names downwards, first by what it takes for name and version, and older menus whose names came from
 * several systems or versions were sorted by these. `osId` and `version` are the new default's. With two entries the
 * names are bootc's.
 */
export function entryNames(count: number, osId: string, version: string): EntryNames[] {
  const width = `${count - 1}`.length;
  const number = (value: number) => `${value}`.padStart(width, "0");
  return Array.from({ length: count }, (_, place) => ({
    fileName: `${FILE_PREFIX}${inFileName(osId)}-${inFileName(version)}-${number(count - 1 - place)}`,
    sortKey: `bootc-${inSortKey(osId)}-${number(place)}`,
  }));
}

/** Whether a file of the menu has such a name: bootc's are alike. */
export function isEntryName(fileName: string): boolean {
  return fileName.startsWith(FILE_PREFIX);
}

const MAX_PART = 100;

/** Loaders refuse other characters in names of entries; a `-` would end the part, a `+` begin a boot counter. */
function inFileName(text: string): string {
  return text.replace(/[^A-Za-z0-9._]/g, "_").slice(0, MAX_PART) || "_";
}

function inSortKey(text: string): string {
  return text.replace(/[^A-Za-z0-9._~^-]/g, "_").slice(0, MAX_PART) || "_";
}
