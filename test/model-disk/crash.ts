/**
 * What may be on the disks after the power failed.
 *
 * The rules, which are what the crash tests claim to stand on. They promise less than ext4, xfs, btrfs and vfat do.
 *
 * - `fsync` and `fdatasync` of a file make its content and attributes durable, not its name.
 * - `fsync` of a directory makes its own attributes and all changes of names in it until then durable; not its own name in
 *   its parent, nor what the files in it hold.
 * - `syncfs` makes everything on the file system durable.
 * - One call changes names atomically: a link, an unlink, a rename, a replacement, an exchange is kept as a whole or lost
 *   as a whole, also where it concerns two directories.
 * - Changes of names that are not durable may be lost. On a journaled file system a change survives only if all earlier ones in
 *   the same directory do; changes in different directories survive or not independently of each other. On FAT a change survives
 *   only if all earlier ones of the same name do; those of different names are independent, even in the same directory.
 * - A new inode is there, empty and with its first attributes, if a name of it is. What a symbolic link says is of its name.
 * - Of content that is not durable the file has what it had before (a new one nothing), the first half of it, or all of it; on
 *   FAT it may have its length, and zeros in it (elsewhere a file grows when its content is written: ext4 with `data=ordered`,
 *   xfs, btrfs).
 *   Attributes that are not durable are as before or as they were set. Neither has an order with anything else: a name may survive
 *   where the content of the file has not.
 * - What is in memory (`/run`) is gone.
 */
import type { ByteString } from "../../src/formats/bytestring.ts";
import type { Body, Change, Disk, FileSystem, Ino } from "./disk.ts";

type Names = Extract<Change, { type: "names" }>;

const FATES = ["new", "old", "content lost", "half", "zeros"] as const;

/** What of the pending changes survives. */
interface Survivors {
  readonly names: ReadonlySet<Names>;
  readonly body: (ino: Ino) => (typeof FATES)[number];
}

/** So many states of a kind are looked at for each moment; if there were more, some are chosen. */
const OF_A_KIND = 12;
const RANDOM = 4;

/** Goes through a log, and says at each moment what a power failure would leave. */
export class PowerFailure {
  /** All that is durable. */
  readonly #durable: Disk;
  /** Changes of names that are not durable, in their order. */
  #names: Names[] = [];
  readonly #bodies = new Map<Ino, Body>();
  readonly #random: () => number;

  /** `initial` is all durable. */
  constructor(initial: Disk, seed = 1) {
    this.#durable = initial.copy(({ kind }) => kind !== "memory");
    this.#random = generator(seed);
  }

  /** The next change of the log has happened. */
  advance(change: Change): void {
    if (change.fs.kind === "memory") return;
    switch (change.type) {
      case "birth":
        this.#durable.apply(change);
        break;
      case "names":
        this.#names.push(change);
        break;
      case "body":
        this.#bodies.set(change.ino, change.body);
        break;
      case "sync":
        this.#sync(change.fs, change.ino);
    }
  }

  #sync(fs: FileSystem, ino: Ino | undefined): void {
    for (const [pending, body] of this.#bodies) {
      const inode = this.#durable.inode(pending);
      if (ino === undefined ? inode.fs !== fs : pending !== ino) continue;
      inode.body = body;
      this.#bodies.delete(pending);
    }
    const concerns = (change: Names) =>
      ino === undefined
        ? change.fs === fs
        : change.changes.some(({ directory }) => directory === ino);
    const kept = this.#withWhatTheyNeed(this.#names.filter(concerns));
    for (const change of this.#names) if (kept.has(change)) this.#durable.apply(change);
    this.#names = this.#names.filter((change) => !kept.has(change));
  }

  /** The disks that a power failure at this moment may leave. All of them where they are few. */
  *states(): Generator<Disk> {
    const all = new Set(this.#names);
    const none = new Set<Names>();
    const inodes = [...this.#bodies.keys()];
    const kept = () => "new" as const;
    const lost = () => "old" as const;
    yield this.#disk({ names: all, body: kept });
    yield this.#disk({ names: none, body: lost });
    yield this.#disk({ names: all, body: lost });
    yield this.#disk({ names: all, body: () => "content lost" });
    yield this.#disk({ names: none, body: kept });
    for (const change of this.#some(this.#names)) {
      yield this.#disk({ names: this.#without(change), body: kept });
      yield this.#disk({ names: this.#withWhatTheyNeed([change]), body: lost });
    }
    for (const one of this.#some(inodes)) {
      for (const how of FATES.slice(1)) {
        yield this.#disk({ names: all, body: (ino) => (ino === one ? how : "new") });
      }
    }
    if (this.#names.length + inodes.length < 2) return;
    for (let i = 0; i < RANDOM; i++) {
      const names = this.#withWhatTheyNeed(this.#names.filter(() => this.#random() < 0.5));
      const fates = new Map(inodes.map((ino) => [ino, this.#fate()]));
      yield this.#disk({ names, body: (ino) => fates.get(ino)! });
    }
  }

  #fate() {
    return FATES[Math.floor(this.#random() * FATES.length)]!;
  }

  /** The last ones, which are new since the moment before, and some of the others. */
  #some<T>(items: readonly T[]): readonly T[] {
    if (items.length <= OF_A_KIND) return items;
    const last = items.slice(-OF_A_KIND / 2);
    const others = items.slice(0, -OF_A_KIND / 2);
    const step = others.length / (OF_A_KIND / 2);
    const start = this.#random() * step;
    return [
      ...Array.from({ length: OF_A_KIND / 2 }, (_, i) => others[Math.floor(start + i * step)]!),
      ...last,
    ];
  }

  #disk({ names, body }: Survivors): Disk {
    const disk = this.#durable.copyAll();
    for (const [ino, latest] of this.#bodies) {
      const inode = disk.inode(ino);
      inode.body = survivor(inode.fs, inode.body, latest, body(ino));
    }
    for (const change of this.#names) if (names.has(change)) disk.apply(change);
    return disk.copy();
  }

  /** These changes and those that they cannot survive without. */
  #withWhatTheyNeed(wanted: readonly Names[]): Set<Names> {
    const kept = new Set(wanted);
    const needed = new Set<string>();
    for (const change of this.#names.toReversed()) {
      if (!kept.has(change) && !chainsOf(change).some((chain) => needed.has(chain))) continue;
      kept.add(change);
      for (const chain of chainsOf(change)) needed.add(chain);
    }
    return kept;
  }

  /** All but this one and those that cannot survive without it. */
  #without(one: Names): Set<Names> {
    const kept = new Set<Names>();
    const broken = new Set<string>();
    for (const change of this.#names) {
      const chains = chainsOf(change);
      if (change === one || chains.some((chain) => broken.has(chain))) {
        for (const chain of chains) broken.add(chain);
      } else {
        kept.add(change);
      }
    }
    return kept;
  }
}

/** Changes of the same chain survive in their order. */
function chainsOf({ fs, changes }: Names): string[] {
  return changes.map(({ directory, name }: { directory: Ino; name: ByteString }) =>
    fs.kind === "fat" ? `${directory}/${name}` : `${directory}`,
  );
}

const halves = new WeakMap<Uint8Array, Uint8Array>();
const zeros = new WeakMap<Uint8Array, Uint8Array>();

function survivor(
  fs: FileSystem,
  old: Body,
  latest: Body,
  fate: ReturnType<Survivors["body"]>,
): Body {
  switch (fate) {
    case "new":
      return latest;
    case "old":
      return old;
    case "content lost":
      return { ...latest, data: old.data };
    case "half":
      return { ...latest, data: known(halves, latest.data, (d) => d.slice(0, d.length >> 1)) };
    case "zeros":
      if (fs.kind !== "fat") return latest;
      return { ...latest, data: known(zeros, latest.data, (d) => new Uint8Array(d.length)) };
  }
}

function known(
  made: WeakMap<Uint8Array, Uint8Array>,
  data: Uint8Array,
  make: (data: Uint8Array) => Uint8Array,
): Uint8Array {
  let result = made.get(data);
  if (result === undefined) {
    result = make(data);
    made.set(data, result);
  }
  return result;
}

/** Numbers from 0 to 1, the same ones for the same seed (mulberry32). */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
