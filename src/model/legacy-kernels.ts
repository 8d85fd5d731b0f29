/**
 * Kernels under the names that early releases of bootc gave them: the id alone. Entries that name them boot as any others do,
 * and may stand in a menu together with such that have the prefix. bootc of today wants all to have it.
 */
import { changeBlsPaths } from "../formats/bls-entry.ts";
import type { Machine } from "./deployments.ts";
import { artifactOf, type MenuEntry, withPrefix } from "./menu-entry.ts";

/** The names without the prefix that deployments boot; none as long as something is staged. */
export function legacyNames({ deployments, staged }: Machine): string[] {
  if (staged !== undefined) return [];
  const names = deployments.map(({ entry }) => entry.directory);
  return [...new Set(names.filter(isLegacyName))];
}

/** Whether a kernel has such a name. */
export function isLegacyName(name: string): boolean {
  return artifactOf(name) !== undefined && withPrefix(name) !== name;
}

/** The entry with the name of today, if its kernel has an older one and gets that. */
export function renamed(entry: MenuEntry, gets: (name: string) => boolean): MenuEntry {
  const { directory } = entry;
  const name = withPrefix(directory);
  if (!isLegacyName(directory) || !gets(name)) return entry;
  const rename = (path: string) =>
    path
      .split("/")
      .map((part) => (part === directory ? name : part))
      .join("/");
  return { ...entry, directory: name, bls: changeBlsPaths(entry.bls, rename) };
}
