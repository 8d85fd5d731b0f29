/**
 * Which objects of a repository are needed. What a reference leads to is, and all that it needs:
 *
 * - an image needs the objects of its files;
 * - a stream needs the objects in its table of objects, and those that it names. An object that it names and that is a
 *   stream is asked for its own needs.
 *
 * This is the liveness of composefs-rs, and a little more is kept: composefs-rs follows a named stream only while some
 * link in `streams/` leads to that very object. After another writer has re-pointed the link, it loses what the older
 * stream needs. Here it is the object that is asked, linked or not.
 */
import { type ByteString, display, fromBytes } from "../formats/bytestring.ts";
import type { HashName } from "../formats/digest.ts";
import { DigestSet } from "./digest-set.ts";

/** The two directories of links into the object store. */
export type LinkKind = "streams" | "images";

/** The links of `streams/` or of `images/`. */
export interface LinkTable {
  /** The entries, and the objects that they lead to. */
  readonly entries: ReadonlyMap<ByteString, Uint8Array>;
  /** The references: `name` is the path below `refs/`, `target` the entry. */
  readonly refs: readonly { readonly name: ByteString; readonly target: ByteString }[];
}

export type Links = Readonly<Record<LinkKind, LinkTable>>;

/** An entry that is to be kept. */
export interface Root {
  readonly kind: LinkKind;
  readonly entry: ByteString;
  readonly digest: Uint8Array;
}

/** What is asked about objects. Whatever it throws ends the search: who does not know what is needed removes nothing. */
export interface ObjectReader {
  /** What a stream refers to; `undefined` if there is no such object, or if it is no stream. */
  stream(
    digest: Uint8Array,
  ): { readonly objects: Iterable<Uint8Array>; readonly named: Iterable<Uint8Array> } | undefined;
  /** The objects of an image's files. */
  image(digest: Uint8Array): Iterable<Uint8Array>;
}

const NAMED_IN_ERROR = 4;
const KINDS: readonly LinkKind[] = ["images", "streams"];

/**
 * What references lead to, each once, and the entries of either kind that have one of the names `more`. A reference that
 * leads to no object is an error: nobody can say what would be lost.
 */
export function findRoots(links: Links, more: readonly ByteString[] = []): Root[] {
  const roots: Root[] = [];
  const dangling: string[] = [];
  for (const kind of KINDS) {
    const { entries, refs } = links[kind];
    const found = new Map<ByteString, Uint8Array>();
    for (const { name, target } of refs) {
      const digest = entries.get(target);
      if (digest === undefined) dangling.push(`${kind}/refs/${display(name)}`);
      else found.set(target, digest);
    }
    for (const name of more) {
      const digest = entries.get(name);
      if (digest !== undefined) found.set(name, digest);
    }
    for (const [entry, digest] of found) roots.push({ kind, entry, digest });
  }
  if (dangling.length > 0) {
    const named = dangling.slice(0, NAMED_IN_ERROR).join(", ");
    const rest = dangling.length - NAMED_IN_ERROR;
    throw new Error(`what ${named}${rest > 0 ? ` and ${rest} more` : ""} leads to is not there`);
  }
  return roots;
}

/** All objects that the roots need, their own among them. Whether they are there is another question. */
export function findLive(
  roots: readonly Root[],
  links: Links,
  read: ObjectReader,
  hash: HashName,
): DigestSet {
  const live = new DigestSet(hash);
  const asked = new DigestSet(hash);
  // What is linked as a stream must be one: it is not passed over as an image would be.
  const streams = new Map<ByteString, ByteString>();
  for (const [name, digest] of links.streams.entries) streams.set(fromBytes(digest), name);

  const pending: Uint8Array[] = [];
  for (const { kind, entry, digest } of roots) {
    live.add(digest);
    if (kind === "streams") {
      pending.push(digest);
      continue;
    }
    try {
      for (const object of read.image(digest)) live.add(object);
    } catch (error) {
      throw new Error(`images/${display(entry)}`, { cause: error });
    }
  }
  for (let digest = pending.pop(); digest !== undefined; digest = pending.pop()) {
    if (asked.has(digest)) continue;
    asked.add(digest);
    const name = streams.get(fromBytes(digest));
    const refs = read.stream(digest);
    if (refs === undefined) {
      if (name === undefined) continue;
      throw new Error(`streams/${display(name)} leads to no stream`);
    }
    for (const object of refs.objects) live.add(object);
    for (const named of refs.named) {
      live.add(named);
      pending.push(named);
    }
  }
  return live;
}

/** The entries whose objects are not kept, sorted. */
export function deadEntries(
  links: Links,
  keeps: (digest: Uint8Array) => boolean,
): Record<LinkKind, ByteString[]> {
  const dead = ({ entries }: LinkTable) =>
    [...entries].flatMap(([name, digest]) => (keeps(digest) ? [] : [name])).sort();
  return { streams: dead(links.streams), images: dead(links.images) };
}
