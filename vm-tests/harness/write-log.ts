/**
 * What a machine has written to its disk, one write after the other, with the flushes between them; and the disk as a power
 * cut at any of these moments would have left it.
 *
 * The log is QEMU's (driver `blklogwrites`), in the format of Linux's dm-log-writes: a superblock, then for each write a
 * sector that describes it and its data.
 */
import { execFileSync } from "node:child_process";
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

/** All that is in the log, in order. */
export function readWriteLog(path: string): Write[] {
  return withFile(path, "r", (fd) => {
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
}

/** What becomes of the writes since the last flush: the disk has put off some, or all, or none, in an order of its own. */
export type Loss = "none" | "all" | "some";

export interface Cut {
  /** The first write that was not begun. */
  readonly at: number;
  readonly loss: Loss;
}

/**
 * Makes `target` the disk as it is after a power cut: a copy of `disk`, which is as it was when the log began, with what was
 * written until then. Of a write that is half done there are whole blocks, whose size is `blockAt(offset)`, in bytes.
 */
export function cutPower(
  target: string,
  disk: string,
  log: string,
  { at, loss }: Cut,
  { blockAt, random }: { blockAt: (offset: number) => number; random: () => number },
): void {
  execFileSync("cp", ["--sparse=always", disk, target]);
  const writes = readWriteLog(log).slice(0, at);
  const durable = writes.findLastIndex(({ flush }) => flush);
  withFile(log, "r", (from) =>
    withFile(target, "r+", (to) => {
      for (const [i, { offset, length, data }] of writes.entries()) {
        if (length === 0 || (i > durable && loss === "all")) continue;
        const bytes = read(from, data, length);
        if (i < durable || loss === "none") {
          writeSync(to, bytes, 0, length, offset);
          continue;
        }
        const [whole, part] = [random() < 1 / 3, random() < 1 / 2];
        const block = blockAt(offset);
        for (let place = 0; place < length; place += block) {
          if (!whole && !(part && random() < 1 / 2)) continue;
          writeSync(to, bytes, place, Math.min(block, length - place), offset + place);
        }
      }
    }),
  );
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
