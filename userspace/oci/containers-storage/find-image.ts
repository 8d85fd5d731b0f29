/**
 * Which image of a store a reference means, as all programs find it that share the store: by name and tag, by a digest
 * that the image with this name has, or by ID, which may be cut short.
 */

import { formatLocation, type RegistryLocation } from "../location.ts";
import type { StorageReference } from "../reference.ts";
import type { Store, StoredImageRecord } from "./store.ts";

interface Candidate {
  readonly store: Store;
  readonly image: StoredImageRecord;
}

export interface FoundImage extends Candidate {
  /** The name that it was found by. */
  readonly location: RegistryLocation | undefined;
}

/** An image of a store, the first of several stores that has it. Throws if there is none. */
export function findImage(stores: readonly Store[], reference: StorageReference): FoundImage {
  const all = stores.flatMap((store) => store.images().map((image) => ({ store, image })));
  const { location, id, maybeId } = reference;
  if (id !== undefined) {
    const found = byId(all, id);
    if (found === undefined || (location !== undefined && !isOf(found.image, location)))
      throw notFound(stores, reference);
    return { ...found, location };
  }
  // what may be an ID is one if there is such an image
  const short = maybeId === undefined ? undefined : byId(all, maybeId);
  if (short !== undefined) return { ...short, location: undefined };
  const found = location === undefined ? undefined : byName(all, location);
  if (found === undefined) throw notFound(stores, reference);
  return { ...found, location };
}

function byName(all: readonly Candidate[], location: RegistryLocation): Candidate | undefined {
  const name = formatLocation(location);
  const { digest } = location;
  const named = all.find(({ image }) => image.names.includes(name));
  if (named !== undefined || digest === undefined) return named;
  return all.find(({ image }) => isOf(image, location) && manifestDigests(image).includes(digest));
}

function byId(all: readonly Candidate[], id: string): Candidate | undefined {
  const found = all.filter(({ image }) => image.id.startsWith(id));
  const exact = found.find(({ image }) => image.id === id);
  if (exact === undefined && new Set(found.map(({ image }) => image.id)).size > 1)
    throw new Error(`several images have an ID that begins with ${id}`);
  return exact ?? found[0];
}

/** Whether one of the image's names is of the repository, whatever the tag. */
function isOf(image: StoredImageRecord, { registry, repository }: RegistryLocation): boolean {
  const name = `${registry}/${repository}`;
  return image.names.some(
    (full) => full.startsWith(name) && [":", "@"].includes(full.charAt(name.length)),
  );
}

/** Digests of the image's manifest and of indexes that it is in. */
function manifestDigests({ digests }: StoredImageRecord): string[] {
  return [...digests].filter(([key]) => /^manifest(?:-|$)/.test(key)).map(([, digest]) => digest);
}

/** Images that one has built have names without a registry, which are hard to guess. */
function notFound(stores: readonly Store[], { location }: StorageReference): Error {
  const error = new Error(`${stores.map(({ path }) => path).join(", ")}: there is no such image`);
  if (location === undefined) return error;
  const tag = location.tag === undefined ? "" : `:${location.tag}`;
  const end = `/${location.repository.split("/").at(-1)}${tag}`;
  const names = stores.flatMap((store) => store.images()).flatMap((image) => image.names);
  const alike = [...new Set(names)].filter((name) => name.endsWith(end)).slice(0, 3);
  return alike.length === 0
    ? error
    : Object.assign(error, { hint: `did you mean ${alike.join(" or ")}?` });
}
