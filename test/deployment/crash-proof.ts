/**
 * The power fails at every moment of an operation, and leaves every disk that `PowerFailure` thinks of. Each must boot what
 * was there before or what the operation has made, whole, from whatever place the firmware takes; the next command must
 * make all good.
 */
import { expect } from "vitest";
import { AT_FDCWD } from "../../src/linux/constants.ts";
import { readFile } from "../../src/linux/files.ts";
import { collect } from "../../userspace/deployment/gc.ts";
import { bringInStep } from "../../userspace/deployment/in-step.ts";
import { readUpdateRecord } from "../../userspace/deployment/outcome.ts";
import { checkRepository } from "../../userspace/repository/fsck.ts";
import { type Bootable, bootables } from "../model-disk/boots.ts";
import { PowerFailure } from "../model-disk/crash.ts";
import type { Disk } from "../model-disk/disk.ts";
import type { ModelMachine } from "../model-disk/machine.ts";
import { FOREIGN, type Scene } from "./crash-scene.ts";

export type Act = (machine: ModelMachine, scene: Scene) => unknown;

export interface Operation {
  readonly name: string;
  readonly start: (scene: Scene) => ModelMachine;
  readonly act: Act;
  /** Does it again, if it was not done. */
  readonly again?: Act;
}

/**
 * How much is looked at, for every disk must boot: of so many disks one gets the next command, and of so many one a collection
 * before it. With CFSBOOT_ALL_TESTS all do.
 */
export interface Depth {
  readonly next: number;
  readonly collected: number;
}

const ALL = process.env.CFSBOOT_ALL_TESTS !== undefined;
/** Of the disks that are chosen where there are too many. */
export const SEED = Number(process.env.CFSBOOT_SEED ?? "1");

export const DEEP: Depth = ALL ? { next: 1, collected: 1 } : { next: 2, collected: 16 };
export const SAMPLED: Depth = ALL ? DEEP : { next: 10, collected: 40 };

const TEMPORARY =
  /(cfsboot-tmp\d*|etc\.new|entries\.staged|\/\.(symlink|tmp-object|meta\.json)-\S*) /;

/** Of a name on FAT that leads to the same as another one: only a repair of the file system parts them. */
const SHARED = / shared \d+/;

function lines(disk: Disk): string[] {
  return [...disk.fileSystems.values()]
    .filter(({ kind }) => kind !== "memory")
    .flatMap(({ root, name }) => disk.listing(root, `/${name}`));
}

/** Nothing is there that nothing needs, and nothing is damaged. */
function expectTidy(machine: ModelMachine, fsck: boolean): void {
  expect(machine.linux.damage).toEqual([]);
  const all = lines(machine.disk);
  const shared = all.filter((line) => SHARED.test(line));
  expect(all.filter((line) => TEMPORARY.test(line) && !SHARED.test(line))).toEqual([]);
  machine.with((host, repository, { leftovers, deployments }) => {
    const artifacts = leftovers.artifacts.filter(
      (name) => !shared.some((line) => line.includes(`/${name} `)),
    );
    expect({ ...leftovers, artifacts }).toEqual({
      stagedMenu: false,
      record: undefined,
      states: [],
      artifacts: [],
    });
    expect(deployments.flatMap(({ damage }) => damage)).toEqual([]);
    if (fsck) expect(checkRepository(repository).findings).toEqual([]);
    readUpdateRecord(host);
  });
}

export const menuOf = (found: readonly Bootable[]) =>
  found.map(({ id, options }) => `${id} ${options}`);

export const collectAll = (machine: ModelMachine) =>
  machine.with((host, repository) => collect(host, repository));

/** What must be true of disks that the power failure has left. */
class Judge {
  readonly #start: ModelMachine;
  readonly #again: (machine: ModelMachine) => Promise<void>;
  readonly #before: readonly Bootable[];
  readonly #after: readonly Bootable[];
  /** What it comes to when it was done, if need be again. */
  #goal: readonly Bootable[] = [];

  private constructor(
    start: ModelMachine,
    done: ModelMachine,
    again: (machine: ModelMachine) => Promise<void>,
  ) {
    this.#start = start;
    this.#again = again;
    this.#before = bootables(start);
    this.#after = bootables(done);
  }

  static async of(start: ModelMachine, done: ModelMachine, again: Act, scene: Scene) {
    const both = async (machine: ModelMachine) => {
      await again(machine, scene);
      if (machine.layout.places.length > 1) machine.with((host) => bringInStep(host));
    };
    const judge = new Judge(start, done, both);
    const next = done.booted();
    await both(next);
    judge.#goal = bootables(next);
    return judge;
  }

  async judge(disk: Disk, next: boolean, collected: boolean): Promise<void> {
    const places = [...this.#start.layout.places.keys()];
    for (const place of places) {
      const machine = this.#start.booted(disk, place);
      const found = this.#boots(machine);
      if (!next) continue;
      const tidied = machine.copy();
      if (collected) {
        collectAll(tidied);
        expectTidy(tidied, true);
        expect(bootables(tidied)).toEqual(found);
      }
      for (const one of collected ? [machine, tidied] : [machine]) {
        await this.#again(one);
        collectAll(one);
        expectTidy(one, collected);
        for (const [each] of one.layout.places.entries()) {
          expect(menuOf(bootables(one, each))).toEqual(menuOf(this.#goal));
        }
      }
    }
  }

  #boots(machine: ModelMachine): readonly Bootable[] {
    const found = bootables(machine);
    for (const { path } of machine.layout.places) {
      for (const name of FOREIGN) {
        const content = readFile(machine.linux, AT_FDCWD, `${path}/loader/entries/${name}`, 1000);
        expect(Buffer.from(content).toString()).toBe(`of ${name}\n`);
      }
    }
    const isNew = menuOf(found).join("\n") === menuOf(this.#after).join("\n");
    if (!isNew) expect(menuOf(found)).toEqual(menuOf(this.#before));
    for (const { id, etc } of found) {
      const allowed = [...(isNew ? [] : this.#before), ...this.#after]
        .filter((one) => one.id === id)
        .map((one) => one.etc);
      expect(allowed, `/etc of ${id}`).toContain(etc);
    }
    if (this.#before.length > 0) expect(machine.running?.id).toBe(found[0]?.id);
    return found;
  }
}

/** Returns on how many different disks it was proved. Without `syncs` none happens, and only the end is looked at. */
export async function prove(
  scene: Scene,
  { start, act, again = act }: Omit<Operation, "name">,
  depth: Depth,
  syncs = true,
): Promise<number> {
  const initial = start(scene);
  const done = initial.copy();
  const changes = await done.record((machine) => act(machine, scene));
  expect(done.linux.openFiles).toBe(0);
  expect(done.linux.damage).toEqual([]);
  const judge = await Judge.of(initial, done, again, scene);
  const failure = new PowerFailure(initial.disk, SEED);
  for (const [index, change] of [undefined, ...changes].entries()) {
    if (change !== undefined && (syncs || change.type !== "sync")) failure.advance(change);
    if (!syncs && index < changes.length) continue;
    for (const disk of failure.newStates()) {
      try {
        await judge.judge(
          disk,
          failure.seen % depth.next === 0,
          failure.seen % depth.collected === 0,
        );
      } catch (error) {
        const { type } = change ?? { type: "nothing" };
        throw new Error(
          `after change ${index} of ${changes.length} (${type}), CFSBOOT_SEED=${SEED}`,
          { cause: error },
        );
      }
    }
  }
  return failure.seen;
}

/**
 * The process is killed after every change of an operation, while the machine goes on, and is started again. Returns how
 * often.
 */
export async function proveKilled(
  scene: Scene,
  { start, act, again = act }: Omit<Operation, "name">,
): Promise<number> {
  const initial = start(scene);
  const done = initial.copy();
  const changes = await done.record((machine) => act(machine, scene));
  await again(done, scene);
  const goal = menuOf(bootables(done.booted()));
  for (let count = 1; count < changes.length; count++) {
    const killed = initial.copy();
    killed.linux.changesLeft = count;
    try {
      await act(killed, scene);
    } catch {
      // which is the point
    }
    const next = killed.copy();
    try {
      await again(next, scene);
      const booted = next.booted();
      expect(menuOf(bootables(booted))).toEqual(goal);
      collectAll(booted);
      expectTidy(booted, false);
    } catch (error) {
      throw new Error(`killed after change ${count} of ${changes.length}`, { cause: error });
    }
  }
  return changes.length - 1;
}
