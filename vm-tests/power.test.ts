/**
 * Power cuts while a machine updates itself: it is watched once, with all that it writes, and the disk is made anew as it would
 * have been left at a random moment. Each of these machines must come up, with the old release or the new one, and the next
 * `cfsboot upgrade` completes what was begun.
 *
 * Killing QEMU alone would cut nothing but the guest: what it has written stays, in the host's page cache, in the order in which
 * it was written. A disk keeps only what was flushed; of what was written since then it has lost a part. So there are three
 * kinds of cuts (`Loss`): `none`, as QEMU is killed; `all`, a disk that writes nothing before it must; `some`, in between.
 *
 * CFSBOOT_POWER_SEED=N chooses the moments, CFSBOOT_POWER_CUTS=N how many for each boot loader. What was watched is kept with the
 * other files of the tests, so that the same seed gives the same disks.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { TEMPORARY } from "../src/linux/directories.ts";
import { bootMenu } from "./harness/boot-menu.ts";
import { CACHE } from "./harness/cache.ts";
import { checkDisk, damageOf } from "./harness/disk-check.ts";
import {
  expectDone,
  FAILED,
  judged,
  type LivingMachine,
  needRoot,
  RELEASE,
  ROOT,
  STATUS,
  statusOf,
} from "./harness/life.ts";
import { answer } from "./harness/observations.ts";
import { boot, newVariables, type UefiMachine } from "./harness/qemu.ts";
import { type Phase, type Watched, watchUpdate } from "./harness/watched.ts";
import { type Loss, Replay, type Unreliability, type Write } from "./harness/write-log.ts";

const ALL = process.env.CFSBOOT_ALL_TESTS !== undefined;
const SEED = Number(process.env.CFSBOOT_POWER_SEED ?? Math.floor(Math.random() * 1e6));
const CUTS = process.env.CFSBOOT_POWER_CUTS;

/** How many disks are looked at, and how many of them are booted. */
const AMOUNTS = [
  { loader: "systemd", ...(ALL ? { looks: 120, cuts: 20 } : { looks: 24, cuts: 2 }) },
  { loader: "grub", ...(ALL ? { looks: 120, cuts: 10 } : { looks: 12, cuts: 0 }) },
] as const;

const PHASES: readonly Phase[] = ["upgrade", "shutdown"];
const LOSSES: readonly Loss[] = ["some", "all", "none"];

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** FAT is written by the sector, ext4 by the block. */
function unreliability({ esp }: Watched, random: () => number): Unreliability {
  return { blockAt: (offset) => (offset < esp.start + esp.size ? 512 : 4096), random };
}

/** A moment between two flushes, each pair of them as likely as any other: it is flushes that code is ordered by. */
function moment(
  writes: readonly Write[],
  [from, to]: readonly [number, number],
  random: () => number,
): number {
  const ends = [];
  for (let i = from; i < to; i++) if (writes[i]!.flush || i === to - 1) ends.push(i);
  const which = Math.floor(random() * ends.length);
  const [start, end] = [which === 0 ? from : ends[which - 1]! + 1, ends[which]!];
  return start + Math.floor(random() * (end - start + 1));
}

/** Moments at which the names that lead to the menu are on their way to the disk, or have just arrived. */
function menuMoments({ menu, log: { writes } }: Watched): number[] {
  const moments: number[] = [];
  let pending = false;
  writes.forEach(({ offset, length, flush }, i) => {
    pending ||= menu.some(({ start, size }) => offset < start + size && offset + length > start);
    if (pending) moments.push(i + 1);
    pending &&= !flush;
  });
  return moments;
}

/** What interrupted commands leave. */
const LEFTOVERS = [
  `find /boot/ /sysroot/boot /sysroot/state -xdev -maxdepth 4 ! -path '*/etc/*' ! -path '*/var/*' '(' -name '*${TEMPORARY}*' -o -name etc.new ')' 2>/dev/null`,
  "find /sysroot/composefs -maxdepth 2 '(' -name '.tmp-object-*' -o -name '.symlink-*' -o -name '.meta.json-*' ')'",
].join("; ");
const NEW = "test -e /usr/share/release";

/**
 * Starts a machine after a power cut, and lets it end as it should. Returns the release that came up at first. `thorough`: all
 * of the repository is read, too.
 */
async function recover(
  hardware: UefiMachine,
  machine: LivingMachine,
  thorough: boolean,
): Promise<"1" | "2"> {
  for (const attempt of [1, 2] as const) {
    const booted = await boot({
      ...hardware,
      name: `${hardware.name} ${attempt}`,
      checks: {
        configure: machine.beginning.configure,
        root: ROOT,
        release: RELEASE,
        etc: "cat /etc/app.conf /etc/edited.conf",
        status: STATUS,
        gc: `! ${NEW} || cfsboot gc --dry-run`,
        upgrade: "cfsboot upgrade",
        after: STATUS,
        // if it was finalized just before the cut, nothing has tidied up yet
        ...(attempt === 1 ? { collect: `! ${NEW} || cfsboot gc` } : {}),
        leftovers: LEFTOVERS,
        entries: `ls -d ${machine.entries}.staged`,
        ...(thorough ? { fsck: `! ${NEW} || cfsboot repo fsck --repo /sysroot/composefs` } : {}),
        judged: judged(machine),
        failed: FAILED,
      },
      target: "multi-user",
      powerOff: "clean",
    });
    expectDone(booted, "configure", "gc", "upgrade", "leftovers", "judged");
    expectDone(booted, ...["collect", "fsck"].filter((name) => name in booted.answers));
    expect(answer(booted, "root")).toMatch("verity=require");
    expect(answer(booted, "leftovers")).toBe("");
    const [{ status }, { status: after }] = [statusOf(booted), statusOf(booted, "after")];
    expect(status.staged).toBeNull();
    if (booted.answers.release!.status === 0) {
      expect(answer(booted, "release")).toBe("2");
      expect(answer(booted, "etc")).toBe("two\nmine");
      expect(status).toMatchObject({ booted: { image: { version: "2" } } });
      expect(status.rollback).not.toBeNull();
      expect(after.staged).toBeNull();
      if (attempt === 2) expect(answer(booted, "gc")).not.toMatch(/^(remove|untag|tag)/m);
      expect(answer(booted, "entries")).toMatch("No such file");
      expect(answer(booted, "failed")).toBe("");
      return attempt === 1 ? "2" : "1";
    }
    expect(attempt, `the update did not complete: ${answer(booted, "upgrade")}`).toBe(1);
    expect(answer(booted, "etc")).toBe("one\nmine");
    expect(status.rollback).toBeNull();
    expect(after).toMatchObject({ staged: { image: { version: "2" } }, rollback: null });
  }
  throw new Error("not reached");
}

describe.for(AMOUNTS)("power cuts, with $loader", ({ loader, looks, cuts }) => {
  let watched: Promise<Watched> | undefined;
  afterAll(async () => {
    await (await watched)?.machine[Symbol.asyncDispose]();
  });

  test("at any moment the disk has one whole menu, and all that it takes to boot what is in it", async (context) => {
    needRoot(context);
    watched ??= watchUpdate({ loader });
    const recorded = await watched;
    const { log, phases } = recorded;
    const end = log.writes.length;
    const random = randomNumbers(SEED);
    const scratch = mkdtempSync(join(CACHE, "power-"));
    try {
      const disk = join(scratch, "disk");
      execFileSync("cp", ["--sparse=always", recorded.disk, disk]);
      const replay = new Replay(disk, log);
      const look = (at: number, loss: Loss, whole: boolean) => {
        const takeBack = replay.cut({ at, loss }, unreliability(recorded, random));
        const entries = bootMenu(disk, loader);
        const ids = entries.map(({ id }) => id);
        const damage = whole ? damageOf(disk, ids) : [];
        takeBack();
        return { menu: JSON.stringify(entries), damage };
      };
      const menuWrites = menuMoments(recorded);
      const chosen = Array.from({ length: looks }, (_, i) =>
        i % 2 === 0
          ? menuWrites[Math.floor(random() * menuWrites.length)]!
          : moment(log.writes, [phases.upgrade[0], end], random),
      ).sort((a, b) => a - b);
      const known = [look(0, "none", true).menu];
      const seen = chosen.map((at, i) => {
        const loss = LOSSES[Math.floor(random() * LOSSES.length)]!;
        const what = `${loader}, seed ${SEED}: at ${at}, ${loss} of the last writes lost`;
        // the root file system has a journal, which takes long to replay
        return { ...look(at, loss, i % 4 === 0), what };
      });
      // sealed at its first boot, then updated
      known.push(known[0]!.replace("?", ""), look(end, "none", true).menu);
      expect(new Set(known).size).toBe(3);
      const wrong = seen.filter(({ menu, damage }) => damage.length > 0 || !known.includes(menu));
      expect(wrong).toEqual([]);
      const counts = known.map((one) => seen.filter(({ menu }) => menu === one).length);
      console.log(
        `power: ${loader}, seed ${SEED}: ${counts[0]} menus of the new machine, ${counts[1]} of the sealed ` +
          `one, ${counts[2]} with the update`,
      );
    } finally {
      rmSync(scratch, { recursive: true, force: true });
    }
  });

  const numbers = Array.from({ length: Number(CUTS ?? cuts) }, (_, i) => i + 1);
  test.for(numbers)(
    "cut %i: the machine comes up, and the update completes",
    async (number, context) => {
      needRoot(context);
      watched ??= watchUpdate({ loader });
      const recorded = await watched;
      const random = randomNumbers(SEED * 1000 + number);
      const phase = PHASES[number % PHASES.length]!;
      const [from, to] = recorded.phases[phase];
      const loss = LOSSES[Math.floor(random() * LOSSES.length)]!;
      const at = moment(recorded.log.writes, [from, to], random);
      const name = `power ${loader} ${number}`;
      const what = `power: ${loader}, cut ${number}: ${phase}, ${at - from} of ${to - from}, ${loss} of the last writes lost`;
      const scratch = mkdtempSync(join(CACHE, "power-"));
      try {
        const [disk, variables] = [join(scratch, "disk"), join(scratch, "variables")];
        execFileSync("cp", ["--sparse=always", recorded.disk, disk]);
        new Replay(disk, recorded.log).cut({ at, loss }, unreliability(recorded, random));
        newVariables(variables);
        const first = await recover(
          { ...recorded.machine.hardware, name, disk, variables },
          recorded.machine,
          number % 5 === 0,
        );
        checkDisk(disk);
        console.log(`${what}: came up with release ${first}`);
      } catch (cause) {
        throw new Error(`seed ${SEED}: ${what}`, { cause });
      } finally {
        rmSync(scratch, { recursive: true, force: true });
      }
    },
  );
});
