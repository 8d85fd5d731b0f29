/**
 * The deployments of a machine: what its boot menu, its state directories, the record of the staged deployment and the
 * running kernel say together. Plain data in, one value out; nothing here is ever an error, what does not fit is told.
 *
 * The boot menu is what counts, as with bootc: a deployment is what can be booted. What is staged has its entry in the
 * menu that takes the place of the present one at shutdown.
 */
import type { Origin } from "../formats/origin.ts";
import { distinct, type MenuEntry } from "./menu-entry.ts";

/** What a deployment's state directory says of it. */
export interface StateDirectory {
  readonly id: string;
  /** What the origin file says; absent if there is none or if it makes no sense. */
  readonly origin: Origin | undefined;
  /** What is wrong with the directory, for people. */
  readonly problems: readonly string[];
}

/** What there is to see of a machine. */
export interface Observation {
  /** What runs; absent where nothing was booted by composefs. */
  readonly running: { readonly id: string; readonly insecure: boolean } | undefined;
  /** Our entries of the menu, in its order: the first is booted by default. */
  readonly menu: readonly MenuEntry[];
  /** Our entries of the staged menu, if there is one. */
  readonly stagedMenu: readonly MenuEntry[] | undefined;
  readonly record: { readonly id: string; readonly locked: boolean } | undefined;
  readonly states: readonly StateDirectory[];
  /** Directories of kernels by their names, and whether they hold a kernel and an initramfs. */
  readonly artifacts: ReadonlyMap<string, boolean>;
  /** Images in the repository, in hex. */
  readonly images: ReadonlySet<string>;
  /** Whether the menu has entries of ours that cannot be read: what they boot is not known. */
  readonly unreadable?: boolean;
}

export type Slot = "staged" | "booted" | "rollback" | "other";

export interface Deployment {
  readonly id: string;
  readonly slot: Slot;
  readonly entry: MenuEntry;
  readonly state: StateDirectory | undefined;
  readonly pinned: boolean;
  /** Only of a staged one: it stays staged at shutdown until it is unlocked. */
  readonly downloadOnly: boolean;
  /** Why it would not come up, for people; empty if nothing is known to be wrong. */
  readonly damage: readonly string[];
}

export interface Machine {
  /** All that can be booted: the staged one, then the menu in its order. The place is the index that commands take. */
  readonly deployments: readonly Deployment[];
  readonly staged: Deployment | undefined;
  readonly booted: Deployment | undefined;
  readonly rollback: Deployment | undefined;
  readonly others: readonly Deployment[];
  /** Whether the menu starts with another deployment than the one that runs. */
  readonly rollbackQueued: boolean;
  /** What interrupted runs have left: it is told, and removed by the next command that writes. */
  readonly leftovers: Leftovers;
  /**
   * Ids of state directories that no entry is known to need, if there are entries that cannot be read: one of these may boot
   * them. As long as that is so, kernels, state and images stay.
   */
  readonly undecided?: readonly string[];
}

/** Whether it is staged, but what says what it is has been lost: it is staged anew as if it were not there. */
export function isLost({ slot, state }: Deployment): boolean {
  return slot === "staged" && state?.origin === undefined;
}

/** Whether nothing says what it follows: its origin file is gone, or names no image. */
export function hasLostOrigin({ state }: Pick<Deployment, "state">): boolean {
  return state?.origin?.image === undefined;
}

export interface Leftovers {
  /** There is a staged menu, but nothing that is staged. */
  readonly stagedMenu: boolean;
  /** There is a record, but no entry for it: what was staged is lost. */
  readonly record: string | undefined;
  /** State directories of deployments that cannot be booted. */
  readonly states: readonly string[];
  /** Directories of kernels that no entry boots, by their names. */
  readonly artifacts: readonly string[];
}

/** Puts together what was seen. */
export function understand(seen: Observation): Machine {
  const states = new Map(seen.states.map((state) => [state.id, state]));
  const deployment = (entry: MenuEntry, slot: Slot, downloadOnly = false): Deployment => {
    const state = states.get(entry.id);
    return {
      id: entry.id,
      slot,
      entry,
      state,
      pinned: state?.origin?.pinned ?? false,
      downloadOnly,
      damage: damageOf(seen, entry, state),
    };
  };

  const record = seen.record;
  const stagedEntry =
    record === undefined || record.id === seen.running?.id
      ? undefined
      : seen.stagedMenu?.find((entry) => entry.id === record.id);
  const staged =
    stagedEntry === undefined ? undefined : deployment(stagedEntry, "staged", record!.locked);

  // The staged one is in the live menu, too, if an older deployment of the same image is still there.
  const entries = distinct(seen.menu).filter(({ id }) => id !== staged?.id);
  const found = entries.map((entry) =>
    deployment(entry, entry.id === seen.running?.id ? "booted" : "other"),
  );
  const rest = seen.running === undefined ? [] : found.filter(({ slot }) => slot === "other");
  // one that would not come up is no way back, unless there is no other
  const back = rest.find(({ damage }) => damage.length === 0) ?? rest[0];
  const inMenu = found.map((one) => (one === back ? { ...one, slot: "rollback" as const } : one));
  const deployments = staged === undefined ? inMenu : [staged, ...inMenu];
  const of = (slot: Slot) => deployments.find((one) => one.slot === slot);
  const booted = of("booted");
  return {
    deployments,
    staged,
    booted,
    rollback: of("rollback"),
    others: deployments.filter(({ slot }) => slot === "other"),
    rollbackQueued: booted !== undefined && seen.menu[0]?.id !== booted.id,
    ...leftOver(seen, staged),
  };
}

function damageOf(
  seen: Observation,
  entry: MenuEntry,
  state: StateDirectory | undefined,
): readonly string[] {
  const damage: string[] = [];
  const kernel = seen.artifacts.get(entry.directory);
  if (kernel === undefined)
    damage.push(`its kernel ${entry.artifact} is not on the boot partition`);
  else if (!kernel) damage.push(`its kernel ${entry.artifact} is incomplete on the boot partition`);
  if (!seen.images.has(entry.id)) damage.push("its image is not in the repository");
  if (state === undefined) damage.push("it has no state directory");
  else damage.push(...state.problems);
  if (entry.tries?.left === 0) {
    const times = entry.tries.done === 1 ? "once" : `${entry.tries.done} times`;
    damage.push(`it was tried ${times} and did not come up`);
  }
  return damage;
}

function leftOver(
  seen: Observation,
  staged: Deployment | undefined,
): Pick<Machine, "leftovers" | "undecided"> {
  const entries = [...seen.menu, ...(staged === undefined ? [] : (seen.stagedMenu ?? []))];
  const ids = new Set(entries.map(({ id }) => id));
  const artifacts = new Set(entries.map(({ directory }) => directory));
  // What runs is no left-over, whatever the menu says.
  if (seen.running !== undefined) ids.add(seen.running.id);
  const states = seen.states.map(({ id }) => id).filter((id) => !ids.has(id));
  const none: Leftovers = {
    stagedMenu: seen.stagedMenu !== undefined && staged === undefined,
    record: seen.record !== undefined && staged === undefined ? seen.record.id : undefined,
    states: [],
    artifacts: [],
  };
  if (seen.unreadable === true) return { leftovers: none, undecided: states };
  const kernels = [...seen.artifacts.keys()].filter((name) => !artifacts.has(name));
  return { leftovers: { ...none, states, artifacts: kernels } };
}

/**
 * The deployment that a person names: by its index, by its id, by the beginning of its id (at least 4 digits), or as
 * `booted`, `staged` or `rollback`. Throws an error that says what there is.
 */
export function findDeployment(machine: Machine, name: string): Deployment {
  const { deployments } = machine;
  const matches = (one: Deployment, index: number) =>
    one.slot === name ||
    `${index}` === name ||
    one.id === name ||
    (/^[0-9a-f]{4,}$/.test(name) && one.id.startsWith(name));
  const [found, ...more] = deployments.filter(matches);
  if (found !== undefined && more.length === 0) return found;
  const known = deployments.map(({ id, slot }, index) => `${index} ${id.slice(0, 12)} (${slot})`);
  const why =
    found === undefined ? "there is no such deployment" : "more than one begins like that";
  throw new Error(`deployment ${name}: ${why}; there are ${known.join(", ") || "none"}`);
}
