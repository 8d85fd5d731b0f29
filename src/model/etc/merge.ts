/**
 * The three-way merge of `/etc`: what the image had (`pristine`), what the machine made of it (`current`), and what the
 * new image has (`next`).
 *
 * What was not changed on the machine becomes as in the new image; what was changed, added or removed there stays so.
 * Where both changed the same entry the machine's version stays, too, and is reported (`take-image` and `merge` do
 * otherwise). Where that cannot be, because one of them has a directory where the other has none, the merge ends unless
 * the strategy decides.
 */
import type { ByteString } from "../../formats/bytestring.ts";
import { type MergeText, mergeLeaf, mergeStat } from "./attributes.ts";
import {
  compareEtc,
  differences,
  type EtcChange,
  hasNewBelow,
  type LinkNames,
  linkNames,
  sameTime,
  sameTree,
} from "./compare.ts";
import { seeThrough } from "./see-through.ts";
import {
  asDirectory,
  asLeaf,
  below,
  type EtcDirectory,
  type EtcEntry,
  type EtcLeaf,
  type EtcStat,
  type FoundDirectory,
  namesOf,
  typeOf,
} from "./tree.ts";

export const ETC_STRATEGIES = ["fail", "keep-local", "take-image", "merge"] as const;
/**
 * What to do about conflicts. "fail": a directory against something else ends the merge; other conflicts keep the
 * machine's version. "keep-local": all keep it. "take-image": all take the image's. "merge": text files are merged line
 * by line, attributes one by one; where that fails the machine's version stays, and the image's is put beside it.
 */
export type EtcStrategy = (typeof ETC_STRATEGIES)[number];

/** The end of the name of an image's version that is beside the machine's. */
export const CONFLICT_SUFFIX = ".cfsboot-conflict";
const NAME_MAX = 255;

export type EtcConflictKind =
  | "both-changed"
  | "both-added"
  /** Changed on the machine, not in the new image any more. */
  | "removed-in-image"
  /** Removed on the machine, changed in the new image. */
  | "removed-here"
  /** The machine has a directory where the new image has something else. */
  | "directory-here"
  /** The other way round. */
  | "directory-in-image";

export interface EtcConflict {
  readonly path: ByteString;
  readonly kind: EtcConflictKind;
  /** "beside": the machine's version stays, the image's has `CONFLICT_SUFFIX`. "none": the merge cannot be done. */
  readonly resolution: "none" | "local" | "image" | "merged" | "beside";
  /** For people. */
  readonly why: string;
}

export interface EtcPlan {
  readonly strategy: EtcStrategy;
  /** The result. Where a conflict is unresolved it has the machine's version. */
  readonly tree: EtcDirectory;
  /** What was done on the machine. */
  readonly local: readonly EtcChange[];
  /** What makes the new image's `/etc` the result. */
  readonly steps: readonly EtcChange[];
  readonly conflicts: readonly EtcConflict[];
  /** Sockets of the machine; they are left out. */
  readonly sockets: readonly ByteString[];
  /** Mounts whose beneath could not be seen; the entry there is as in the new image. */
  readonly mounts: readonly ByteString[];
}

export interface EtcStates {
  readonly pristine: FoundDirectory;
  readonly current: FoundDirectory;
  readonly next: FoundDirectory;
}

/** Whether the plan cannot be carried out. */
export function isBlocked({ conflicts }: EtcPlan): boolean {
  return conflicts.some(({ resolution }) => resolution === "none");
}

/** Plans a merge. Throws only what reading the content of files throws. */
export function mergeEtc(states: EtcStates, strategy: EtcStrategy, mergeText: MergeText): EtcPlan {
  const pristine = seeThrough(states.pristine).tree;
  const { tree: current, sockets, mounts } = seeThrough(states.current, pristine);
  const next = seeThrough(states.next).tree;
  const merge = new Merge(strategy, mergeText, linkNames(pristine), linkNames(next));
  const tree = merge.directory("" as ByteString, pristine, current, next);
  return {
    strategy,
    tree,
    local: compareEtc(pristine, current),
    steps: compareEtc(next, tree),
    conflicts: merge.conflicts,
    sockets,
    mounts,
  };
}

type Maybe<T> = T | undefined;

class Merge {
  readonly conflicts: EtcConflict[] = [];
  readonly #strategy: EtcStrategy;
  readonly #mergeText: MergeText;
  readonly #pristineLinks: LinkNames;
  readonly #nextLinks: LinkNames;
  /** What was merged from a leaf of the machine and one of the image, so that hard links of both stay such. */
  readonly #merged = new Map<EtcLeaf, Map<EtcLeaf, Maybe<EtcLeaf>>>();

  constructor(strategy: EtcStrategy, mergeText: MergeText, pristine: LinkNames, next: LinkNames) {
    this.#strategy = strategy;
    this.#mergeText = mergeText;
    this.#pristineLinks = pristine;
    this.#nextLinks = next;
  }

  /** Merges a directory that the machine and the image both have. */
  directory(
    path: ByteString,
    p: Maybe<EtcDirectory>,
    c: EtcDirectory,
    n: EtcDirectory,
  ): EtcDirectory {
    return {
      type: "directory",
      stat: this.#attributes(path, p, c, n),
      entries: this.#entries(path, p, c, n),
    };
  }

  #entries(
    path: ByteString,
    p: Maybe<EtcDirectory>,
    c: EtcDirectory,
    n: Maybe<EtcDirectory>,
  ): Map<ByteString, EtcEntry> {
    const entries = new Map<ByteString, EtcEntry>();
    const beside = new Map<ByteString, EtcEntry>();
    for (const name of namesOf(p, c, n)) {
      const put = (image: EtcEntry) => beside.set((name + CONFLICT_SUFFIX) as ByteString, image);
      const place: Place = {
        path: below(path, name),
        putBeside: name.length + CONFLICT_SUFFIX.length > NAME_MAX ? undefined : put,
      };
      const entry = this.#entry(
        place,
        p?.entries.get(name),
        c.entries.get(name),
        n?.entries.get(name),
      );
      if (entry !== undefined) entries.set(name, entry);
    }
    // an image's version that an earlier merge put there is out of date
    for (const [name, image] of beside) entries.set(name, image);
    return entries;
  }

  #entry(
    place: Place,
    p: Maybe<EtcEntry>,
    c: Maybe<EtcEntry>,
    n: Maybe<EtcEntry>,
  ): Maybe<EtcEntry> {
    if (c === undefined) return this.#absent(place, p, n);
    return c.type === "directory" ? this.#directory(place, p, c, n) : this.#leaf(place, p, c, n);
  }

  /** The machine has nothing here. */
  #absent(place: Place, p: Maybe<EtcEntry>, n: Maybe<EtcEntry>): Maybe<EtcEntry> {
    if (p === undefined || n === undefined) return n;
    if (sameTree(p, n)) return undefined;
    return this.#resolve(place, "removed-here", undefined, n);
  }

  /** The machine has something here that is no directory. */
  #leaf(place: Place, p: Maybe<EtcEntry>, c: EtcLeaf, n: Maybe<EtcEntry>): Maybe<EtcEntry> {
    const old = asLeaf(p);
    if (old !== undefined && differences(old, c).length === 0) {
      const untouched = n?.type === "leaf" && this.#isExactly(old, n);
      return untouched ? c : n; // then the machine's modification time and links are as good, and later
    }
    if (n === undefined)
      return p === undefined ? c : this.#resolve(place, "removed-in-image", c, n);
    if (p !== undefined && sameTree(p, n)) return c;
    if (n.type === "directory") return this.#resolve(place, "directory-in-image", c, n);
    if (differences(c, n).length === 0) return c;
    if (this.#strategy === "merge" && old !== undefined) {
      const merged = this.#mergeLeaves(old, c, n);
      if (merged !== undefined) {
        this.#report(place, "both-changed", "merged", c, n);
        return merged;
      }
    }
    return this.#resolve(place, p === undefined ? "both-added" : "both-changed", c, n);
  }

  /** The machine has a directory here. */
  #directory(
    place: Place,
    p: Maybe<EtcEntry>,
    c: EtcDirectory,
    n: Maybe<EtcEntry>,
  ): Maybe<EtcEntry> {
    const old = asDirectory(p);
    if (n?.type === "directory") return this.directory(place.path, old, c, n);
    if (n === undefined) {
      if (p === undefined) return c;
      if (old === undefined) return this.#resolve(place, "removed-in-image", c, n);
      // what was changed or added stays, and so do the directories that it is in
      const entries = this.#entries(place.path, old, c, undefined);
      const stays = entries.size > 0 || differences(old, c).length > 0;
      return stays ? { ...c, entries } : undefined;
    }
    if (old !== undefined && !hasNewBelow(old, c)) return n;
    if (p !== undefined && sameTree(p, n)) return c;
    return this.#resolve(place, "directory-here", c, n);
  }

  /** Those of a directory that the machine and the image both have. */
  #attributes(path: ByteString, p: Maybe<EtcDirectory>, c: EtcDirectory, n: EtcDirectory): EtcStat {
    if (p !== undefined) {
      const exact = differences(p, n).length === 0;
      if (differences(p, c).length === 0)
        return exact && sameTime(p.stat, n.stat) ? c.stat : n.stat;
      if (exact) return c.stat;
    }
    if (differences(c, n).length === 0) return c.stat;
    const kind = p === undefined ? "both-added" : "both-changed";
    const merged = this.#strategy === "merge" && p ? mergeStat(p.stat, c.stat, n.stat) : undefined;
    const image = this.#strategy === "take-image";
    this.#report({ path }, kind, merged ? "merged" : image ? "image" : "local", c, n);
    return merged ?? (image ? n.stat : c.stat);
  }

  /** Whether the image has not even touched a leaf. */
  #isExactly(p: EtcLeaf, n: EtcLeaf): boolean {
    return (
      differences(p, n).length === 0 &&
      sameTime(p.stat, n.stat) &&
      this.#pristineLinks(p) === this.#nextLinks(n)
    );
  }

  #mergeLeaves(p: EtcLeaf, c: EtcLeaf, n: EtcLeaf): Maybe<EtcLeaf> {
    const known = this.#merged.get(c) ?? new Map<EtcLeaf, Maybe<EtcLeaf>>();
    this.#merged.set(c, known);
    if (!known.has(n)) known.set(n, mergeLeaf(p, c, n, this.#mergeText));
    return known.get(n);
  }

  /** Decides a conflict that is not merged. */
  #resolve(
    place: Place,
    kind: EtcConflictKind,
    c: Maybe<EtcEntry>,
    n: Maybe<EtcEntry>,
  ): Maybe<EtcEntry> {
    if (this.#strategy === "take-image") {
      this.#report(place, kind, "image", c, n);
      return n;
    }
    const blocks = kind === "directory-here" || kind === "directory-in-image";
    const beside = this.#strategy === "merge" && n !== undefined && place.putBeside !== undefined;
    if (beside) place.putBeside(n);
    const resolution = this.#strategy === "fail" && blocks ? "none" : beside ? "beside" : "local";
    this.#report(place, kind, resolution, c, n);
    return c;
  }

  #report(
    { path }: Pick<Place, "path">,
    kind: EtcConflictKind,
    resolution: EtcConflict["resolution"],
    c: Maybe<EtcEntry>,
    n: Maybe<EtcEntry>,
  ): void {
    this.conflicts.push({ path, kind, resolution, why: sentence(kind, c, n) });
  }
}

/** Where an entry is. */
interface Place {
  readonly path: ByteString;
  /** Puts the image's version beside it; absent where the name would be too long. */
  readonly putBeside: ((image: EtcEntry) => void) | undefined;
}

function sentence(kind: EtcConflictKind, c: Maybe<EtcEntry>, n: Maybe<EtcEntry>): string {
  const here = c === undefined ? "nothing" : `a ${typeOf(c)}`;
  const there = n === undefined ? "nothing" : `a ${typeOf(n)}`;
  switch (kind) {
    case "both-changed":
      return "changed here, and otherwise in the new image";
    case "both-added":
      return "added here, and otherwise in the new image";
    case "removed-in-image":
      return "changed here, and no longer in the new image";
    case "removed-here":
      return "removed here, and changed in the new image";
    case "directory-here":
    case "directory-in-image":
      return `${here} here, and ${there} in the new image`;
  }
}
