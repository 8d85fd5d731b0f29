/** Gives kernels that early releases of bootc have written the names of today, in the menu and on the boot partitions. */
import { understand } from "../../src/model/deployments.ts";
import { renamed } from "../../src/model/legacy-kernels.ts";
import { withPrefix } from "../../src/model/menu-entry.ts";
import { listKernels, removeKernel } from "../bootloader/kernels.ts";
import { copyLegacyKernel, holdsOnlyKernel } from "../bootloader/legacy-kernels.ts";
import type { Repository } from "../repository/repository.ts";
import { changeMenu } from "./change.ts";
import type { Host } from "./host.ts";
import { observe } from "./observe.ts";

/**
 * Does it for these names. What a boot partition has no room to copy stays as it is, and boots as it did; it can be tried
 * again.
 *
 * Order: copies under the new names, each whole and durable; the menu, by exchange, in the first place last, with all that is
 * in it; the old directories.
 */
export function migrateKernels(host: Host, repository: Repository, names: readonly string[]): void {
  if (names.length === 0) return;
  const { linux, places } = host;
  const copied = new Set(
    names.filter((name) => places.every((place) => copyLegacyKernel(linux, place, name))),
  );
  if (copied.size === 0) return;
  const done = new Set([...copied].map(withPrefix));
  const machine = understand(observe(host, repository).seen);
  const menu = machine.deployments
    .filter((one) => one !== machine.staged)
    .map(({ id, entry }) => ({ id, entry: renamed(entry, (name) => done.has(name)) }));
  changeMenu(host, machine, { menu, dropped: [] });
  for (const name of copied) removeLegacyKernel(host, name);
}

/** Removes a kernel without the prefix, unless there is something else in it. */
export function removeLegacyKernel({ linux, places }: Host, name: string): void {
  for (const place of places) {
    const there = listKernels(linux, place).some((kernel) => kernel.name === name);
    if (there && holdsOnlyKernel(linux, place, name)) removeKernel(linux, place, name);
  }
}
