/**
 * Room for one more kernel on the boot partitions. As long as the new deployment has not taken over, what runs and what one
 * can go back to stay; what is older than those goes if that makes room.
 */
import type { Deployment, Machine } from "./deployments.ts";
import { artifactName } from "./menu-entry.ts";
import { PlanError } from "./menu-plan.ts";
import { megabytes } from "./size-text.ts";

/** What a boot menu and a directory take besides the kernel, in bytes. */
export const MENU_SIZE = 1 << 20;
/** What a boot loader takes that is yet to be put beside them, twice: firmware looks in two places. In bytes. */
export const LOADER_SIZE = 3 << 20;

/** One boot partition, sizes in bytes. */
export interface BootRoom {
  readonly path: string;
  /** Whether images are on the same file system. */
  readonly onRoot?: boolean;
  readonly free: number;
  /** For the new kernel, if it is not there yet, and the menu. */
  readonly needed: number;
  /** What the kernels take that are there, by their directories' names. */
  readonly kernels: ReadonlyMap<string, number>;
}

/**
 * The deployments that have to go so that there is room for a kernel that is to be kept under `artifact`: of those that
 * nobody pinned what is staged, which is replaced anyway, and then the oldest; never what runs, nor the rollback. Nothing if
 * there is room. Throws a `PlanError` that says what is missing where if there is not enough, whatever goes.
 */
export function planRoom(
  machine: Machine,
  artifact: string,
  places: readonly BootRoom[],
): readonly Deployment[] {
  const { staged, others } = machine;
  const candidates = [...(staged === undefined ? [] : [staged]), ...[...others].reverse()].filter(
    ({ pinned }) => !pinned,
  );
  const short = (gone: readonly Deployment[]) =>
    places.find((place) => place.free + freed(machine, gone, artifact, place) < place.needed);
  let gone: readonly Deployment[] = [];
  for (const one of candidates) {
    if (short(gone) === undefined) break;
    gone = [...gone, one];
  }
  const place = short(gone);
  if (place !== undefined) throw noRoom(machine, artifact, place);
  // what shares its kernel with one that stays makes no room
  for (const one of gone) {
    const fewer = gone.filter((other) => other !== one);
    if (short(fewer) === undefined) gone = fewer;
  }
  return gone;
}

/** The directories of kernels that nothing needs once these deployments are gone. */
export function freedKernels(
  { deployments, undecided }: Machine,
  gone: readonly Deployment[],
  artifact: string,
): readonly string[] {
  // an entry that cannot be read may need any of them
  if (undecided !== undefined) return [];
  const staying = deployments.filter((one) => !gone.includes(one));
  const needed = new Set([artifactName(artifact), ...staying.map(({ entry }) => entry.directory)]);
  return [...new Set(gone.map(({ entry }) => entry.directory))].filter((name) => !needed.has(name));
}

function freed(
  machine: Machine,
  gone: readonly Deployment[],
  artifact: string,
  { kernels }: BootRoom,
): number {
  return freedKernels(machine, gone, artifact).reduce(
    (sum, name) => sum + (kernels.get(name) ?? 0),
    0,
  );
}

function noRoom(machine: Machine, artifact: string, place: BootRoom): PlanError {
  const { booted, deployments } = machine;
  const ways = deployments
    .filter((one) => one !== booted)
    .flatMap((one) => {
      const bytes = freed(machine, [one], artifact, place);
      if (bytes === 0) return [];
      const name = one.id.slice(0, 12);
      const first = one.pinned ? `cfsboot unpin ${name} and ` : "";
      return [`${first}cfsboot delete ${name} (${one.slot}) frees ${megabytes(bytes)}`];
    });
  const { path, needed, free, onRoot = false } = place;
  // one that was fetched just now, for example
  const images = onRoot ? ["cfsboot gc removes images that were fetched and not staged"] : [];
  return new PlanError(
    `not enough room on the boot partition ${path}: ${megabytes(needed)} are needed, ${megabytes(free)} are free`,
    [...ways, ...images].join("; ") ||
      "files of others may take it: no deployment could be deleted to make room",
  );
}
