/**
 * What nothing needs in the containers-storage that bootc keeps beside the repository. bootc pulls deployments' images by way
 * of it, and those that an image is bound to run from it.
 */

/** An image there. */
export interface StoredContainer {
  readonly id: string;
  readonly names: readonly string[];
}

/** The images that go: those without a name that is needed. None if nothing is known to be needed. */
export function planStoragePrune(
  images: readonly StoredContainer[],
  needed: readonly string[],
): readonly StoredContainer[] {
  if (needed.length === 0) return [];
  const wanted = new Set(needed.map(fullName));
  return images.filter(({ names }) => !names.some((name) => wanted.has(fullName(name))));
}

/** For people. */
export function containerText({ id, names }: StoredContainer): string {
  return names[0] ?? id.slice(0, 12);
}

/** A name with what it goes without saying: `latest`, Docker's registry. */
function fullName(name: string): string {
  const [first = "", ...rest] = name.split("/");
  const isHost = rest.length > 0 && (/[.:]/.test(first) || first === "localhost");
  const located = isHost ? name : `docker.io/${rest.length === 0 ? "library/" : ""}${name}`;
  const last = located.slice(located.lastIndexOf("/") + 1);
  return /[:@]/.test(last) ? located : `${located}:latest`;
}
