/**
 * What a machine has written to its disk, one write after the other, with the flushes between them; and the disk as a power
 * cut at any of these moments would have left it.
 *
 * The log is QEMU's (driver `blklogwrites`), in the format of Linux's dm-log-writes: a superblock, then for each write a
 * sector that describes it and its data.
 */
import { closeSync, openSync, readSync, truncateSync, writeFileSync, writeSync } from "node:fs";

const SECTOR = 512;
const MAGIC = 0x6a736677736872n;
const VERSION = 1n;
const FLUSH = 1n << 0n;
const DISCARD = 1n << 2n;
/** It is sparse. */
const LOG_SIZE = 8 << 30;

export interface Write {
  /** Where on the disk, in bytes. */
  readonly offset: number;
  /** In bytes; none if it is only a flush. */
  readonly length: number;
  /** Where its data is in the log, in bytes. */
  readonly data: number;
  /** Whether what was written before it is on the disk for good. */
  readonly flush: boolean;
}

/** Makes a log for a machine to write to. */
export function newWriteLog(path: string): void {
  writeFileSync(path, "");
  truncateSync(path, 0);
  truncateSync(path, LOG_SIZE);
}

/** How many writes and flushes are in the log by now. */
export function logged(path: string): number {
  return withFile(path, "r", (fd) => readSuper(fd));
}

function readSuper(fd: number): number {
  const block = read(fd, 0, SECTOR);
  const [magic, version] = [block.readBigUInt64LE(0), block.readBigUInt64LE(8)];
  if (magic === 0n) return 0;
  if (magic !== MAGIC || version !== VERSION || block.readUInt32LE(24) !== SECTOR)
    throw new Error("this is no log of writes");
  return Number(block.readBigUInt64LE(16));
}

export interface WriteLog {
  readonly path: string;
  /** In order. */
  readonly writes: readonly Write[];
}

/** All that is in the log. */
export function readWriteLog(path: string): WriteLog {
  const writes = withFile(path, "r", (fd) => {
    const writes: Write[] = [];
    let at = SECTOR;
    for (let count = readSuper(fd); count > 0; count--) {
      const entry = read(fd, at, SECTOR);
      const [sector, sectors, flags] = [0, 8, 16].map((place) => entry.readBigUInt64LE(place)) as [
        bigint,
        bigint,
        bigint,
      ];
      const data = at + SECTOR;
      const length = Number(sectors) * SECTOR;
      const discard = (flags & DISCARD) !== 0n;
      at = data + (discard ? 0 : length);
      writes.push({
        offset: Number(sector) * SECTOR,
        length: discard ? 0 : length,
        data,
        flush: (flags & FLUSH) !== 0n,
      });
    }
    return writes;
  });
  return { path, writes };
}

/** What becomes of the writes since the last flush: the disk has put off some, or all, or none, in an order of its own. */
export type Loss = "none" | "all" | "some";

export interface Cut {
  /** The first write that was not begun. */
  readonly at: number;
  readonly loss: Loss;
}

/** How a disk loses what it was not made to keep. */
export interface Unreliability {
  /** Of a write that is half done there are whole blocks of this size, in bytes, at this place of the disk. */
  readonly blockAt: (offset: number) => number;
  /** From 0 to 1. */
  readonly random: () => number;
}

/** A part of a disk, in bytes. */
export interface Part {
  readonly start: number;
  readonly size: number;
}

/** A disk, or a part of one, that is made anew from a log: at first it is in `path` as it was when the log began. */
export class Replay {
  readonly #path: string;
  readonly #log: WriteLog;
  readonly #part: Part;
  /** So many of the writes are there. */
  #done = 0;

  constructor(path: string, log: WriteLog, part = { start: 0, size: Number.POSITIVE_INFINITY }) {
    this.#path = path;
    this.#log = log;
    this.#part = part;
  }

  /**
   * Makes it the disk as it is after a power cut, which is none before an earlier one. Returns what takes back all that was not
   * on the disk for good: to be called before the next cut.
   */
  cut({ at, loss }: Cut, { blockAt, random }: Unreliability): () => void {
    const durable = this.#log.writes.findLastIndex(({ flush }, i) => flush && i < at) + 1;
    if (durable < this.#done) throw new Error("power was cut later before");
    const changed: { place: number; before: Buffer }[] = [];
    withFile(this.#log.path, "r", (log) =>
      withFile(this.#path, "r+", (disk) => {
        for (let i = this.#done; i < at; i++) {
          const { offset, length, data } = this.#log.writes[i]!;
          const begin = offset - this.#part.start;
          if (length === 0 || begin < 0 || begin >= this.#part.size) continue;
          if (i >= durable && loss === "all") continue;
          const bytes = read(log, data, length);
          if (i < durable) {
            writeSync(disk, bytes, 0, length, begin);
            continue;
          }
          changed.unshift({ place: begin, before: read(disk, begin, length) });
          const whole = loss === "none" || random() < 1 / 3;
          const some = random() < 1 / 2;
          const block = blockAt(offset);
          for (let from = 0; from < length; from += block) {
            if (!whole && !(some && random() < 1 / 2)) continue;
            writeSync(disk, bytes, from, Math.min(block, length - from), begin + from);
          }
        }
      }),
    );
    this.#done = durable;
    return () =>
      withFile(this.#path, "r+", (disk) => {
        for (const { place, before } of changed) writeSync(disk, before, 0, before.length, place);
      });
  }
}

function read(fd: number, at: number, length: number): Buffer {
  const buffer = Buffer.alloc(length);
  for (let done = 0; done < length; ) {
    const count = readSync(fd, buffer, done, length - done, at + done);
    if (count === 0) throw new Error("the log of writes ends early");
    done += count;
  }
  return buffer;
}

function withFile<T>(path: string, flags: string, use: (fd: number) => T): T {
  const fd = openSync(path, flags);
  try {
    return use(fd);
  } finally {
    closeSync(fd);
  }
}
