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
 *   the same directory do; changes in different directories survive or not independently of each other.
 * - A new inode is there, empty and with its first attributes, if a name of it is. What a symbolic link says is of its name.
 * - Of content that is not durable the file has what it had before (a new one nothing), the first half of it, or all of it; on
 *   FAT it may have its length, and zeros in it (elsewhere a file grows when its content is written: ext4 with `data=ordered`,
 *   xfs, btrfs).
 *   fs-verity is only where all of the content is (ext4 writes it out before it sets the flag); the flag may be lost.
 *   Attributes that are not durable are as before or as they were set. Neither has an order with anything else: a name may survive
 *   where the content of the file has not.
 * - What is in memory (`/run`) is gone.
 *
 * On FAT, as Linux writes it (`fs/fat/namei_vfat.c`), less is atomic, and less is durable:
 *
 * - Each name changes by itself, and may or may not survive alone; only changes of one name are in their order.
 * - A rename is three changes: the new name is there, and leads to nothing (an empty file or directory); it leads to the
 *   file; the old name is gone. A replacement is the latter two, an exchange one for each of the two names. So a file may
 *   have two names.
 * - Where a renamed name leads is written with the file: `fsync` of the file makes it durable, not `fsync` of the directory.
 * - `syncfs` leaves all in the disk's cache; an `fsync` of anything on the file system after it makes it durable.
 * - A file that was removed gives its room to new ones at once. If its name comes back, because that it went was not durable
 *   before the next file was made, then it leads to what others have written there, and removing it damages them.
 */
import type { ByteString } from "../../src/formats/bytestring.ts";
import { S_IFMT } from "../../src/linux/constants.ts";
import {
  type Body,
  type Change,
  type Disk,
  type FileSystem,
  type Ino,
  type NameChange,
  newBody,
} from "./disk.ts";

/** Changes of names that survive, or not, together. */
interface Names {
  readonly type: "names";
  readonly fs: FileSystem;
  readonly changes: readonly NameChange[];
  /** What `fsync` of makes it durable. */
  readonly by: readonly Ino[];
  /** On FAT: what it takes the last name from. */
  readonly frees?: Ino | undefined;
}

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
  /** As it is while the power is on. */
  readonly #present: Disk;
  /** What is in the cache of a disk that holds a FAT file system. */
  #cachedNames = new Set<Names>();
  readonly #cachedBodies = new Map<Ino, Body>();
  /** Changes that took the last name from a file, and whose room was given away since. */
  readonly #reused = new Set<Names>();
  #ghosts: Ino = 0;
  /** Fingerprints of the disks that `newStates` has yielded. */
  readonly #seen = new Set<string>();
  readonly #random: () => number;

  /** `initial` is all durable. */
  constructor(initial: Disk, seed = 1) {
    this.#durable = initial.copy(({ kind }) => kind !== "memory");
    this.#present = this.#durable.copyAll();
    this.#random = generator(seed);
  }

  /** The next change of the log has happened. */
  advance(change: Change): void {
    if (change.fs.kind === "memory") return;
    switch (change.type) {
      case "birth":
        this.#durable.apply(change);
        this.#giveAway(change.fs);
        break;
      case "names":
        this.#names.push(...this.#steps(change));
        break;
      case "body":
        this.#bodies.set(change.ino, change.body);
        break;
      case "sync":
        this.#sync(change.fs, change.ino);
    }
    this.#present.apply(change);
  }

  /** What survives by itself of a change that was made in one call. */
  #steps(change: Extract<Change, { type: "names" }>): Names[] {
    const { fs, changes } = change;
    if (fs.kind !== "fat") return [{ ...change, by: changes.map(({ directory }) => directory) }];
    const moved = changes.length === 2;
    return changes.toReversed().flatMap((one): Names[] => {
      const { directory, name, to } = one;
      const before = this.#present.inode(directory).entries.get(name);
      const step = { type: "names", fs, changes: [one] } as const;
      const stays = before === undefined || changes.some((other) => other.to === before);
      const frees = stays ? undefined : before;
      if (to === undefined || !moved) return [{ ...step, by: [directory], frees }];
      const leads: Names = { ...step, by: [to], frees };
      if (before !== undefined) return [leads];
      return [{ ...step, changes: [{ ...one, to: this.#ghost(fs, to) }], by: [directory] }, leads];
    });
  }

  /** Where a new name leads before it leads to a file: to an empty one of the same type. */
  #ghost(fs: FileSystem, of: Ino): Ino {
    const { mode, mtimeSec } = this.#present.inode(of).body;
    const ino = --this.#ghosts;
    this.#durable.apply({ type: "birth", fs, ino, body: newBody(mode & S_IFMT, mtimeSec) });
    return ino;
  }

  /** A new file takes the room of those that were removed. */
  #giveAway(fs: FileSystem): void {
    if (fs.kind !== "fat") return;
    for (const change of this.#names) {
      if (change.fs === fs && change.frees !== undefined) this.#reused.add(change);
    }
  }

  #sync(fs: FileSystem, ino: Ino | undefined): void {
    const bodies = [...this.#bodies].filter(([pending]) =>
      ino === undefined ? this.#durable.inode(pending).fs === fs : pending === ino,
    );
    const names = this.#names.filter((change) =>
      ino === undefined ? change.fs === fs : change.by.includes(ino),
    );
    if (fs.kind !== "fat") {
      this.#keep(names, bodies);
      return;
    }
    if (ino === undefined) {
      for (const change of names) this.#cachedNames.add(change);
      for (const [pending, body] of bodies) this.#cachedBodies.set(pending, body);
      return;
    }
    const ofThis = (pending: Ino) => this.#durable.inode(pending).fs === fs;
    const cached = this.#names.filter(
      (change) => change.fs === fs && this.#cachedNames.has(change),
    );
    const content = [...this.#cachedBodies].filter(([pending]) => ofThis(pending));
    for (const [pending] of content) this.#cachedBodies.delete(pending);
    this.#keep([...cached, ...names], [...content, ...bodies]);
  }

  #keep(names: readonly Names[], bodies: readonly (readonly [Ino, Body])[]): void {
    for (const [ino, body] of bodies) {
      this.#durable.inode(ino).body = body;
      if (this.#bodies.get(ino) === body) this.#bodies.delete(ino);
    }
    const kept = this.#withWhatTheyNeed(names);
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

  /** Those of `states` that differ from all that this has yielded, also at earlier moments. */
  *newStates(): Generator<Disk> {
    for (const disk of this.states()) {
      const fingerprint = disk.fingerprint();
      if (this.#seen.has(fingerprint)) continue;
      this.#seen.add(fingerprint);
      yield disk;
    }
  }

  /** How many disks `newStates` has yielded. */
  get seen(): number {
    return this.#seen.size;
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
    for (const change of this.#names) {
      if (names.has(change)) disk.apply(change);
      else if (this.#reused.has(change)) disk.inode(change.frees!).reused = true;
    }
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
      return { ...latest, data: old.data, verity: old.verity };
    case "half": {
      const data = known(halves, latest.data, (d) => d.slice(0, d.length >> 1));
      return { ...latest, data, verity: old.verity };
    }
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
