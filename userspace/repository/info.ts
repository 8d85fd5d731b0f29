/** What is in a repository, and which of its references needs how much of it. */
import { type ByteString, display } from "../../src/formats/bytestring.ts";
import type { HashName } from "../../src/formats/digest.ts";
import type { ErofsFormat } from "../../src/formats/meta-json.ts";
import { AT_SYMLINK_NOFOLLOW } from "../../src/linux/constants.ts";
import { isErrno } from "../../src/linux/linux.ts";
import { DigestSet } from "../../src/model/digest-set.ts";
import {
  findLive,
  findRoots,
  type LinkKind,
  type Links,
  type LinkTable,
  type Root,
} from "../../src/model/liveness.ts";
import { listObjects, objectDirectories, objectReader, readLinks } from "./contents.ts";
import type { Repository, RepositoryFiles } from "./repository.ts";

/** Files, the sum of their sizes, and of what they take on the disk: in bytes. */
export interface Amount {
  readonly objects: number;
  readonly apparent: number;
  readonly allocated: number;
}

/** What is kept by an entry that references lead to. */
export interface RootInfo {
  readonly kind: LinkKind;
  /** `oci-manifest-sha256:…`, an image's digest. */
  readonly entry: string;
  /** The references that lead to it, without `refs/`. */
  readonly refs: readonly string[];
  /** All that it needs. */
  readonly all: Amount;
  /** What of it nothing else needs: so much becomes free without it. */
  readonly own: Amount;
}

/** One of which nobody can tell what it needs. */
export interface UnreadableRoot extends Pick<RootInfo, "kind" | "entry" | "refs"> {
  readonly cause: unknown;
}

export interface RepositoryInfo {
  readonly hash: HashName;
  /** The default one first. */
  readonly formats: readonly ErofsFormat[];
  /** Whether it enforces fs-verity. */
  readonly secure: boolean;
  readonly streams: number;
  readonly images: number;
  readonly all: Amount;
  /** What no reference needs; not known if there are any that cannot be read. */
  readonly garbage: Amount | undefined;
  /** Sorted by the first of their references. */
  readonly roots: readonly RootInfo[];
  readonly unreadable: readonly UnreadableRoot[];
}

/** Looks at all of a repository but the content of files. */
export function repositoryInfo(repository: Repository): RepositoryInfo {
  const { files } = repository;
  const links = readLinks(files);
  const sizes = new Sizes(files);

  const read = objectReader(repository);
  const users = new Uint32Array(sizes.count);
  const needs: { readonly root: Root; readonly indexes: Uint32Array }[] = [];
  const unreadable: UnreadableRoot[] = [];
  const describe = ({ kind, entry }: Root) => ({
    kind,
    entry: display(entry),
    refs: namesOf(links, kind, entry),
  });
  for (const root of findRoots(withoutDangling(links, unreadable))) {
    try {
      const indexes = sizes.indexesOf(findLive([root], links, read, files.hash));
      for (const index of indexes) users[index]!++;
      needs.push({ root, indexes });
    } catch (cause) {
      unreadable.push({ ...describe(root), cause });
    }
  }
  return {
    hash: repository.hash,
    formats: repository.formats,
    secure: files.secure,
    streams: links.streams.entries.size,
    images: links.images.entries.size,
    all: sizes.sum(sizes.indexes()),
    garbage:
      unreadable.length > 0
        ? undefined
        : sizes.sum(sizes.indexes().filter((index) => users[index] === 0)),
    roots: needs
      .map(({ root, indexes }) => ({
        ...describe(root),
        all: sizes.sum(indexes),
        own: sizes.sum(indexes.filter((index) => users[index] === 1)),
      }))
      .sort(byName),
    unreadable: unreadable.sort(byName),
  };
}

/** The links without the references that lead nowhere, which are `found`. */
function withoutDangling(links: Links, found: UnreadableRoot[]): Links {
  const sound = (kind: LinkKind): LinkTable => {
    const { entries, refs } = links[kind];
    return {
      entries,
      refs: refs.filter(({ name, target }) => {
        if (entries.has(target)) return true;
        const cause = new Error("it leads nowhere");
        found.push({ kind, entry: display(target), refs: [display(name)], cause });
        return false;
      }),
    };
  };
  return { streams: sound("streams"), images: sound("images") };
}

function byName(
  { refs: [a = ""] }: Pick<RootInfo, "refs">,
  { refs: [b = ""] }: Pick<RootInfo, "refs">,
): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function namesOf(links: Links, kind: LinkKind, entry: ByteString): string[] {
  return links[kind].refs
    .filter(({ target }) => target === entry)
    .map(({ name }) => display(name))
    .sort();
}

/** The sizes of all objects. */
class Sizes {
  readonly #objects: DigestSet;
  readonly #apparent: number[] = [];
  readonly #allocated: number[] = [];

  constructor(files: RepositoryFiles) {
    this.#objects = new DigestSet(files.hash);
    for (const directory of objectDirectories(files)) {
      for (const { digest, path } of listObjects(files, directory).objects) {
        try {
          const stat = files.platform.linux.statx(files.root, path, AT_SYMLINK_NOFOLLOW);
          const index = this.#objects.add(digest);
          this.#apparent[index] = stat.size;
          this.#allocated[index] = stat.blocks * 512;
        } catch (error) {
          if (!isErrno(error, "ENOENT")) throw error; // it has just been collected
        }
      }
    }
  }

  get count(): number {
    return this.#objects.size;
  }

  indexes(): Uint32Array {
    return Uint32Array.from({ length: this.count }, (_, index) => index);
  }

  /** The indexes of those that are there. */
  indexesOf(digests: DigestSet): Uint32Array {
    const indexes = new Uint32Array(digests.size);
    let count = 0;
    for (const digest of digests) {
      const index = this.#objects.indexOf(digest);
      if (index >= 0) indexes[count++] = index;
    }
    return indexes.slice(0, count);
  }

  sum(indexes: Iterable<number>): Amount {
    let [objects, apparent, allocated] = [0, 0, 0];
    for (const index of indexes) {
      objects++;
      apparent += this.#apparent[index]!;
      allocated += this.#allocated[index]!;
    }
    return { objects, apparent, allocated };
  }
}
