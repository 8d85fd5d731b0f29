/**
 * Kernels under the names that early releases of bootc gave them: the id alone. Entries that name them boot as any others do,
 * and may stand in a menu together with such that have the prefix. bootc of today wants all to have it.
 */
import { changeBlsPaths } from "../formats/bls-entry.ts";
import type { Machine } from "./deployments.ts";
import { artifactName, artifactOf, type MenuEntry } from "./menu-entry.ts";

/** The artifacts of deployments that name them without the prefix; none as long as something is staged. */
export function legacyArtifacts({ deployments, staged }: Machine): string[] {
  if (staged !== undefined) return [];
  return [
    ...new Set(
      deployments
        .map(({ entry }) => entry)
        .flatMap((entry) => (isLegacy(entry) ? entry.artifact : [])),
    ),
  ];
}

function isLegacy({ bootType, artifact, directory }: MenuEntry): boolean {
  return bootType === "bls" && directory === artifact;
}

/** Whether a kernel's directory has such a name. */
export function isLegacyName(name: string): boolean {
  return artifactOf(name) === name;
}

/** The entry with the names of today, if its artifact is one of these. */
export function withPrefix(entry: MenuEntry, artifacts: ReadonlySet<string>): MenuEntry {
  const { artifact, directory } = entry;
  if (!isLegacy(entry) || !artifacts.has(artifact)) return entry;
  const name = artifactName(artifact);
  const rename = (path: string) =>
    path
      .split("/")
      .map((part) => (part === directory ? name : part))
      .join("/");
  return { ...entry, directory: name, bls: changeBlsPaths(entry.bls, rename) };
}
