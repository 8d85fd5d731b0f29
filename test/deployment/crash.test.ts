/**
 * The power fails at every moment of every operation, and leaves every disk that `PowerFailure` thinks of. Each must boot what
 * was there before or what the operation has made, whole; the next command must make all good.
 */
import { beforeAll, describe, expect, test } from "vitest";
import { setOriginImage } from "../../src/formats/origin.ts";
import { AT_FDCWD } from "../../src/linux/constants.ts";
import { readFile } from "../../src/linux/files.ts";
import { planDelete, planRollback } from "../../src/model/menu-plan.ts";
import { changeMenu, setPinned } from "../../userspace/deployment/change.ts";
import { collect } from "../../userspace/deployment/gc.ts";
import { changeKargs, planKargs } from "../../userspace/deployment/karg.ts";
import { observe } from "../../userspace/deployment/observe.ts";
import { readUpdateRecord } from "../../userspace/deployment/outcome.ts";
import { writeOrigin } from "../../userspace/deployment/state.ts";
import { untagImage } from "../../userspace/oci/image.ts";
import { checkRepository } from "../../userspace/repository/fsck.ts";
import { type Bootable, bootables } from "../model-disk/boots.ts";
import { PowerFailure } from "../model-disk/crash.ts";
import type { Disk } from "../model-disk/disk.ts";
import { putFile } from "../model-disk/linux.ts";
import { ModelMachine } from "../model-disk/machine.ts";
import type { OsImage } from "./machine.ts";

const os = (version: string, kernel: string, app: string): OsImage => ({
  version,
  kernel: kernel.repeat(50),
  etc: { "app.conf": `${app}\n`, "dir/": "", [`only-${version}`]: `${version}\n`.repeat(30) },
});
const FIRST = os("13", "6.12", "one");
const SECOND = os("14", "6.13", "two");
const THIRD = os("15", "6.14", "three");

const FOURTH = os("16", "6.15", "four");

type Act = (machine: ModelMachine) => unknown;

interface Operation {
  readonly name: string;
  readonly start: () => ModelMachine;
  readonly act: Act;
  /** Does it again, if it was not done. */
  readonly again?: Act;
  readonly atLeast: number;
}

/** Pulled: three images, nothing installed. */
let empty: ModelMachine;
let manifests: readonly [string, string, string];
/** The first one runs. */
let first: ModelMachine;
/** The second one runs, the first one is behind it. */
let second: ModelMachine;
let ids: readonly [string, string, string];

beforeAll(async () => {
  empty = ModelMachine.create();
  for (const path of ["/esp/loader", "/esp/loader/entries", "/esp/loader/entries/theirs"]) {
    empty.linux.mkdirat(AT_FDCWD, path, 0o755);
  }
  for (const name of FOREIGN) putFile(empty.linux, `/esp/loader/entries/${name}`, `of ${name}\n`);
  manifests = [await empty.pull(FIRST), await empty.pull(SECOND), await empty.pull(THIRD)];
  const installed = empty.copy();
  const one = installed.stage(manifests[0]);
  first = installed.booted();
  const updated = first.copy();
  const two = updated.stage(manifests[1]);
  updated.finalize();
  second = updated.booted();
  const three = second.copy().stage(manifests[2]);
  ids = [one, two, three];
});

/** Files of others among the entries. */
const FOREIGN = ["windows.conf.off", "theirs/notes", "random-seed"];

const TEMPORARY = /(cfsboot-tmp|etc\.new|entries\.staged|\/\.(symlink|tmp-object|meta\.json)-\S*) /;

function lines(disk: Disk): string[] {
  return [...disk.fileSystems.values()]
    .filter(({ kind }) => kind !== "memory")
    .flatMap(({ root, name }) => disk.listing(root, `/${name}`));
}

/** Nothing is there that nothing needs, and nothing is damaged. */
function expectTidy(machine: ModelMachine, fsck: boolean): void {
  machine.with((host, repository, { leftovers, deployments }) => {
    expect(leftovers).toEqual({ stagedMenu: false, record: undefined, states: [], artifacts: [] });
    expect(deployments.flatMap(({ damage }) => damage)).toEqual([]);
    if (fsck) expect(checkRepository(repository).findings).toEqual([]);
    readUpdateRecord(host);
  });
  expect(lines(machine.disk).filter((line) => TEMPORARY.test(line))).toEqual([]);
}

const menuOf = (found: readonly Bootable[]) => found.map(({ id, options }) => `${id} ${options}`);

const collectAll: Act = (machine) => machine.with((host, repository) => collect(host, repository));

/** What must be true of disks that the power failure has left. */
class Judge {
  readonly #start: ModelMachine;
  readonly #again: Act;
  readonly #before: readonly Bootable[];
  readonly #after: readonly Bootable[];
  /** What it comes to when it was done, if need be again. */
  readonly #goal: readonly Bootable[];

  constructor(
    start: ModelMachine,
    again: Act,
    menus: Readonly<Record<"before" | "after" | "goal", readonly Bootable[]>>,
  ) {
    this.#start = start;
    this.#again = again;
    this.#before = menus.before;
    this.#after = menus.after;
    this.#goal = menus.goal;
  }

  static async of(start: ModelMachine, done: ModelMachine, again: Act): Promise<Judge> {
    const before = bootables(start);
    const after = bootables(done);
    const next = done.booted();
    await again(next);
    return new Judge(start, again, { before, after, goal: bootables(next) });
  }

  async judge(disk: Disk, every: boolean): Promise<void> {
    const machine = this.#start.booted(disk);
    const found = bootables(machine);
    for (const name of FOREIGN) {
      const content = readFile(machine.linux, AT_FDCWD, `/esp/loader/entries/${name}`, 1000);
      expect(Buffer.from(content).toString()).toBe(`of ${name}\n`);
    }
    const isNew = this.#isNew(found);
    if (!isNew) expect(menuOf(found)).toEqual(menuOf(this.#before));
    for (const { id, etc } of found) {
      const allowed = [...(isNew ? [] : this.#before), ...this.#after]
        .filter((one) => one.id === id)
        .map((one) => one.etc);
      expect(allowed, `/etc of ${id}`).toContain(etc);
    }
    if (this.#before.length > 0) expect(machine.running?.id).toBe(found[0]?.id);

    const collected = machine.copy();
    collectAll(collected);
    expectTidy(collected, true);
    expect(bootables(collected)).toEqual(found);

    for (const next of every ? [machine, collected] : [machine]) {
      await this.#again(next);
      collectAll(next);
      expectTidy(next, every);
      expect(menuOf(bootables(next))).toEqual(menuOf(this.#goal));
    }
  }

  #isNew(found: readonly Bootable[]): boolean {
    return menuOf(found).join("\n") === menuOf(this.#after).join("\n");
  }
}

/** Once in so many disks the next command is tried after a garbage collection, too. */
const EVERY = 8;

/** Returns on how many different disks it was proved. Without `syncs` none happens, and only the end is looked at. */
async function prove(
  { start, act, again = act }: Omit<Operation, "name" | "atLeast">,
  syncs = true,
): Promise<number> {
  const initial = start();
  const done = initial.copy();
  const changes = await done.record(act);
  expect(done.linux.openFiles).toBe(0);
  const judge = await Judge.of(initial, done, again);
  const failure = new PowerFailure(initial.disk);
  const seen = new Set<string>();
  for (const [index, change] of [undefined, ...changes].entries()) {
    if (change !== undefined && (syncs || change.type !== "sync")) failure.advance(change);
    if (!syncs && index < changes.length) continue;
    for (const disk of failure.states()) {
      const fingerprint = disk.fingerprint();
      if (seen.has(fingerprint)) continue;
      seen.add(fingerprint);
      try {
        await judge.judge(disk, seen.size % EVERY === 0);
      } catch (error) {
        const { type } = change ?? { type: "nothing" };
        throw new Error(`after change ${index} of ${changes.length} (${type})`, { cause: error });
      }
    }
  }
  return seen.size;
}

const staged = (from: ModelMachine, manifest: string) => {
  const machine = from.copy();
  machine.stage(manifest);
  return machine;
};

/** Stages unless that is in the menu, and finalizes. */
const update =
  (which: 1 | 2): Act =>
  (machine) => {
    const has = machine.with((_host, _repository, { deployments }) =>
      deployments.some(({ id }) => id === ids[which]),
    );
    if (!has) machine.stage(manifests[which]);
    machine.finalize();
  };

const rollBackToFirst: Act = (machine) =>
  machine.with((host, _repository, seen) => {
    const target = seen.deployments.find(({ id }) => id === ids[0])!;
    changeMenu(host, seen, planRollback(seen, target, true));
  });

const deleteFirst: Act = (machine) =>
  machine.with((host, _repository, seen) => {
    const target = seen.deployments.find(({ id }) => id === ids[0]);
    if (target !== undefined) changeMenu(host, seen, planDelete(seen, target));
  });

const pin: Act = (machine) =>
  machine.with((host, _repository, seen) => {
    for (const one of seen.deployments) setPinned(host, one, true);
  });

const OPERATIONS: readonly Operation[] = [
  {
    name: "install: the first deployment",
    start: () => empty.copy(),
    act: (machine) => {
      const none = machine.with((_host, _repository, { deployments }) => deployments.length === 0);
      if (none) machine.stage(manifests[0]);
    },
    atLeast: 200,
  },
  {
    name: "stage",
    start: () => first.copy(),
    act: (machine) => machine.stage(manifests[1]),
    again: update(1),
    atLeast: 200,
  },
  {
    name: "pull and stage",
    start: () => first.copy(),
    act: async (machine) => machine.stage(await machine.pull(FOURTH)),
    again: async (machine) => {
      const manifest = await machine.pull(FOURTH);
      const { running, booted } = machine.with((_host, _repository, seen) => ({
        running: machine.running?.id,
        booted: seen.deployments.length,
      }));
      if (booted === 1 && running === ids[0]) machine.stage(manifest);
      machine.finalize();
    },
    atLeast: 350,
  },
  {
    name: "stage in place of what is staged",
    start: () => staged(first, manifests[2]),
    act: (machine) => machine.stage(manifests[1]),
    again: update(1),
    atLeast: 200,
  },
  {
    name: "finalize",
    start: () => staged(first, manifests[1]),
    act: (machine) => machine.finalize(),
    again: update(1),
    atLeast: 250,
  },
  {
    name: "finalize, when an older one is dropped",
    start: () => staged(second, manifests[2]),
    act: (machine) => machine.finalize(),
    again: update(2),
    atLeast: 100,
  },
  { name: "rollback", start: () => second.copy(), act: rollBackToFirst, atLeast: 70 },
  {
    name: "rollback that drops what is staged",
    start: () => staged(second, manifests[2]),
    act: rollBackToFirst,
    atLeast: 100,
  },
  { name: "delete", start: () => second.copy(), act: deleteFirst, atLeast: 50 },
  { name: "pin", start: () => second.copy(), act: pin, atLeast: 8 },
  {
    name: "gc",
    start: () => {
      const machine = staged(second, manifests[2]);
      machine.finalize();
      const booted = machine.booted();
      booted.with((_host, repository) => untagImage(repository, FIRST.version));
      return booted;
    },
    act: collectAll,
    atLeast: 100,
  },
  {
    name: "karg",
    start: () => second.copy(),
    act: (machine) =>
      machine.with((host, repository, { deployments, booted }) => {
        if (booted?.entry.bls.options?.includes("added")) return;
        const plan = planKargs(deployments, [{ edit: "add", karg: "added" }]);
        changeKargs(host, observe(host, repository).seen, plan);
      }),
    atLeast: 75,
  },
  {
    name: "switch --in-place",
    start: () => second.copy(),
    act: (machine) =>
      machine.with((host, _repository, { booted }) => {
        const origin = booted!.state!.origin!;
        const image = {
          transport: "registry",
          name: "example.org/b",
          signature: undefined,
        } as const;
        writeOrigin(host, booted!.id, setOriginImage(origin, image));
      }),
    atLeast: 4,
  },
];

test("without a sync, what may be lost is noticed", { timeout: 600_000 }, async () => {
  for (const operation of OPERATIONS.filter(({ name }) =>
    /^(install|finalize|rollback)/.test(name),
  )) {
    await expect(prove(operation, false), operation.name).rejects.toThrow(/after change/);
  }
});

describe("the power fails at any moment", () => {
  test.each(OPERATIONS)("$name", { timeout: 600_000 }, async (operation) => {
    const count = await prove(operation);
    expect(count).toBeGreaterThanOrEqual(operation.atLeast);
  });
});
