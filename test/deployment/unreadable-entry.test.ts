/** A boot entry of ours that cannot be read: what it boots stays, and all else goes on. */
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, expect, test, vi } from "vitest";
import { AT_FDCWD } from "../../src/linux/constants.ts";
import { understand } from "../../src/model/deployments.ts";
import { collectAndTell } from "../../userspace/cli/collect.ts";
import { Report } from "../../userspace/cli/report.ts";
import { finalize } from "../../userspace/deployment/finalize.ts";
import { collect } from "../../userspace/deployment/gc.ts";
import { observe } from "../../userspace/deployment/observe.ts";
import { planRepair, repair } from "../../userspace/deployment/repair.ts";
import { hostFacts } from "../../userspace/deployment/status.ts";
import { linux } from "../../userspace/linux.ts";
import { badSectors } from "../bootloader/bad-sectors.ts";
import { TestMachine } from "./machine.ts";

beforeEach((ctx) => {
  if (linux.geteuid() !== 0) ctx.skip("not root: the owners in /etc cannot be made");
});

const MENU = "esp/loader/entries";

/** A machine that runs the second image, with the first behind it. */
async function updated() {
  const machine = new TestMachine();
  const first = await machine.stage({ version: "13", kernel: "6.1" }, { counted: false });
  machine.boot();
  writeFileSync(machine.etc("mine"), "kept");
  const second = await update(machine, "14");
  return { machine, first, second };
}

async function update(machine: TestMachine, version: string): Promise<string> {
  const id = await machine.stage({ version, kernel: version }, { counted: false });
  machine.with((host, repository) =>
    finalize(host, repository, {
      etc: { dirfd: AT_FDCWD, path: machine.etc(), name: "/etc" },
      strategy: "fail",
    }),
  );
  expect(machine.boot()).toBe(id);
  return id;
}

const entryOf = (machine: TestMachine, id: string) =>
  machine.names(MENU).find((name) => machine.read(`${MENU}/${name}`).includes(`composefs=?${id}`))!;

const warnings = (machine: TestMachine) =>
  machine.with(
    (host, repository) =>
      hostFacts(host, repository, { usrOverlay: undefined, readOnly: false }).warnings,
  );

test("the rollback's: status names it, updates go on, and it can be booted once the disk is mended", async () => {
  const { machine, first, second } = await updated();
  using _ = machine;
  const name = entryOf(machine, first);
  machine.linux = badSectors(linux, name);
  expect(warnings(machine)).toEqual([
    `The boot entry ${join(machine.path, MENU, name)} is damaged: read ${name}: Input/output error.`,
    "As long as an entry cannot be read, nothing is removed that it may need.",
  ]);
  machine.with((host, repository, seen) => {
    expect(seen.deployments.map(({ id }) => id)).toEqual([second]);
    expect(seen.leftovers).toMatchObject({ states: [], artifacts: [] });
    collect(host, repository);
  });
  const third = await update(machine, "15");
  machine.with((host, repository) => collect(host, repository));
  expect(machine.names(MENU)).toContain(name);

  machine.linux = linux;
  expect(warnings(machine)).toEqual([]);
  machine.with((host, repository, { deployments, leftovers }) => {
    expect(deployments.map(({ id }) => id).sort()).toEqual([first, second, third].sort());
    expect(deployments.flatMap(({ damage }) => damage)).toEqual([]);
    expect(leftovers).toMatchObject({ states: [], artifacts: [] });
    expect(planRepair(host, repository, observe(host, repository)).kernels).toEqual([]);
  });
  expect(machine.names(`sysroot/state/deploy/${second}/etc`)).toContain("mine");
});

test("gc tells what it keeps for it, and changes nothing", async () => {
  const { machine, first } = await updated();
  using _ = machine;
  const name = entryOf(machine, first);
  machine.linux = badSectors(linux, name);
  machine.with((host, repository) => collect(host, repository));
  const entry = join(machine.path, MENU, name);
  const problem = `read ${name}: Input/output error`;
  for (const dryRun of [true, false]) {
    const said: string[] = [];
    const write = vi.spyOn(process.stdout, "write").mockImplementation((text) => {
      said.push(String(text));
      return true;
    });
    try {
      for (const json of [false, true]) {
        const report = new Report({ json, dryRun });
        using open = machine.open();
        await collectAndTell(open.host, open.repository, { dryRun }, report);
        await report.end({});
      }
    } finally {
      write.mockRestore();
    }
    const kept = `state of ${first.slice(0, 12)} and kernel ${first.slice(0, 12)} are kept for it`;
    expect(said[0]).toBe(`${entry} cannot be read (${problem}): ${kept}\n`);
    expect(JSON.parse(said.at(-1)!)).toMatchObject({
      changed: false,
      steps: [{ do: "keep", entry, problem, states: [first], kernels: [first] }],
    });
  }
  // by hand: then nothing is kept for it any more
  machine.linux = linux;
  rmSync(entry);
  machine.with((host, repository) => collect(host, repository));
  expect(machine.names("sysroot/state/deploy")).not.toContain(first);
});

test("its image cannot be staged, which would take its /etc away", async () => {
  const { machine, first } = await updated();
  using _ = machine;
  machine.linux = badSectors(linux, entryOf(machine, first));
  await expect(machine.stage({ version: "13", kernel: "6.1" })).rejects.toThrow(
    /may be what a boot entry boots that cannot be read/,
  );
});

test("that of what runs is written again", async () => {
  const { machine, second } = await updated();
  using _ = machine;
  machine.linux = badSectors(linux, entryOf(machine, second));
  machine.with((host, repository, { booted }) => {
    expect(booted).toBeUndefined();
    const cmdline = `root=UUID=1234 rw composefs=?${second}`;
    repair(
      { ...host, cmdline },
      planRepair({ ...host, cmdline }, repository, observe(host, repository)),
    );
  });
  machine.linux = linux;
  machine.with((host, repository) => {
    const { booted, rollback } = understand(observe(host, repository).seen);
    expect([booted?.id, rollback?.damage]).toEqual([second, []]);
  });
});
