/**
 * File systems in memory: inodes and names. Every change is a record that says all there is to know about it, so that any
 * part of the changes can be made again on another copy (`crash.ts`).
 */
import { createHash } from "node:crypto";
import type { ByteString } from "../../src/formats/bytestring.ts";
import { S_IFDIR, S_IFMT, S_IFREG } from "../../src/linux/constants.ts";

export type Ino = number;

/** Like ext4, like vfat, like tmpfs. */
export type FileSystemKind = "journaled" | "fat" | "memory";

export interface FileSystem {
  /** It is found at `/NAME`. */
  readonly name: string;
  readonly kind: FileSystemKind;
  readonly root: Ino;
  /** Whether it can do fs-verity. */
  readonly verity: boolean;
}

/** All of an inode but names in it and of it. Never changed, only replaced. */
export interface Body {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeSec: bigint;
  readonly mtimeNsec: number;
  readonly rdev: number;
  /** Of a regular file. */
  readonly data: Uint8Array;
  /** Of a symbolic link. */
  readonly target: ByteString;
  readonly xattrs: ReadonlyMap<ByteString, Uint8Array>;
  /** Its fs-verity digest, if it has one, as `FS_IOC_MEASURE_VERITY` tells it. */
  readonly verity: Uint8Array | undefined;
}

export interface Inode {
  readonly ino: Ino;
  readonly fs: FileSystem;
  body: Body;
  /** Of a directory. */
  readonly entries: Map<ByteString, Ino>;
  /** The directory that a directory is in; its own number where it is in none. */
  parent: Ino;
  /** How many names it has. */
  names: number;
  /** On FAT: its room on the disk was given to another file, while a name of it has survived. */
  reused: boolean;
}

export interface NameChange {
  readonly directory: Ino;
  readonly name: ByteString;
  readonly to: Ino | undefined;
}

/** A change, or a promise that changes are kept. */
export type Change =
  | { readonly type: "birth"; readonly fs: FileSystem; readonly ino: Ino; readonly body: Body }
  /** One atomic step, whatever it changes. */
  | { readonly type: "names"; readonly fs: FileSystem; readonly changes: readonly NameChange[] }
  | { readonly type: "body"; readonly fs: FileSystem; readonly ino: Ino; readonly body: Body }
  /** `fsync` of an inode; of all of them where there is none (`syncfs`). */
  | { readonly type: "sync"; readonly fs: FileSystem; readonly ino: Ino | undefined };

const NOTHING = new Uint8Array(0);

export function newBody(mode: number, seconds: bigint): Body {
  return {
    mode,
    uid: 0,
    gid: 0,
    mtimeSec: seconds,
    mtimeNsec: 0,
    rdev: 0,
    data: NOTHING,
    target: "" as ByteString,
    xattrs: new Map(),
    verity: undefined,
  };
}

export function isDirectory({ body }: Inode): boolean {
  return (body.mode & S_IFMT) === S_IFDIR;
}

export class Disk {
  readonly fileSystems = new Map<string, FileSystem>();
  readonly #inodes = new Map<Ino, Inode>();
  #next: Ino = 1;

  addFileSystem(name: string, kind: FileSystemKind, verity = false): void {
    const root = this.newIno();
    const fs: FileSystem = { name, kind, root, verity };
    this.fileSystems.set(name, fs);
    this.apply({ type: "birth", fs, ino: root, body: newBody(S_IFDIR | 0o755, 0n) });
  }

  newIno(): Ino {
    return this.#next++;
  }

  /** Greater on every disk that was made of this one, if anything new is on it. */
  get age(): number {
    return this.#next;
  }

  inode(ino: Ino): Inode {
    const inode = this.#inodes.get(ino);
    if (inode === undefined) throw new Error(`the model has no inode ${ino}`);
    return inode;
  }

  /** Makes a change. A sync changes nothing. */
  apply(change: Change): void {
    switch (change.type) {
      case "birth": {
        const { ino, fs, body } = change;
        this.#next = Math.max(this.#next, ino + 1);
        const nameless = { entries: new Map(), parent: ino, names: 0, reused: false };
        this.#inodes.set(ino, { ino, fs, body, ...nameless });
        break;
      }
      case "body":
        this.inode(change.ino).body = change.body;
        break;
      case "names":
        for (const { directory, name, to } of change.changes) this.#setName(directory, name, to);
    }
  }

  #setName(directory: Ino, name: ByteString, to: Ino | undefined): void {
    const { entries } = this.inode(directory);
    const before = entries.get(name);
    if (before !== undefined) this.inode(before).names--;
    if (to === undefined) {
      entries.delete(name);
      return;
    }
    const inode = this.inode(to);
    entries.set(name, to);
    inode.names++;
    if (isDirectory(inode)) inode.parent = directory;
  }

  /** A copy of what can be reached by name; `keep` tells which file systems are not made empty. */
  copy(keep: (fs: FileSystem) => boolean = () => true): Disk {
    const copy = new Disk();
    copy.#next = this.#next;
    for (const [name, fs] of this.fileSystems) {
      copy.fileSystems.set(name, fs);
      this.#copyInode(copy, this.inode(fs.root), keep(fs));
    }
    return copy;
  }

  #copyInode(to: Disk, from: Inode, withEntries: boolean): void {
    const entries = new Map(withEntries ? from.entries : []);
    to.#inodes.set(from.ino, { ...from, entries });
    for (const entry of entries.values()) {
      if (!to.#inodes.has(entry)) this.#copyInode(to, this.inode(entry), true);
    }
  }

  /** A copy of all inodes, whether they have names or not. */
  copyAll(): Disk {
    const copy = new Disk();
    copy.#next = this.#next;
    for (const [name, fs] of this.fileSystems) copy.fileSystems.set(name, fs);
    for (const [ino, inode] of this.#inodes) {
      copy.#inodes.set(ino, { ...inode, entries: new Map(inode.entries) });
    }
    return copy;
  }

  /** Every name below `ino` with what it stands for, times aside; in the order of names. */
  listing(ino: Ino, path = ""): string[] {
    const { entries } = this.inode(ino);
    return [...entries.keys()].sort().flatMap((name) => {
      const inode = this.inode(entries.get(name)!);
      const at = `${path}/${name}`;
      return [`${at} ${describe(inode)}`, ...this.listing(inode.ino, at)];
    });
  }

  /** Two disks of the same one are alike but for times. */
  fingerprint(): string {
    return [...this.fileSystems.keys()].map((name) => this.fingerprintOf(name)).join(" ");
  }

  /** As `fingerprint`, of one file system. */
  fingerprintOf(name: string): string {
    const { root } = this.fileSystems.get(name)!;
    return createHash("sha256").update(this.listing(root).join("\n")).digest("hex");
  }
}

function describe({ ino, fs, body, names, reused }: Inode): string {
  const { mode, uid, gid, rdev, target, data, xattrs } = body;
  const shown = fs.kind === "fat" ? mode & S_IFMT : mode;
  const attributes = [...xattrs].map(([key, value]) => `${key}=${hashOf(value)}`).sort();
  const content = (mode & S_IFMT) === S_IFREG ? hashOf(data) : target;
  const shared = fs.kind === "fat" && names > 1 ? [`shared ${ino}`] : [];
  const marks = [...(reused ? ["reused"] : []), ...(body.verity ? ["verity"] : [])];
  return [shown.toString(8), uid, gid, rdev, content, ...attributes, ...shared, ...marks].join(" ");
}

const hashes = new WeakMap<Uint8Array, string>();

function hashOf(data: Uint8Array): string {
  let hash = hashes.get(data);
  if (hash === undefined) {
    hash = createHash("sha256").update(data).digest("hex");
    hashes.set(data, hash);
  }
  return hash;
}
