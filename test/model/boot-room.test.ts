import { expect, test } from "vitest";
import { planRoom } from "../../src/model/boot-room.ts";
import type { Deployment, Machine, Slot } from "../../src/model/deployments.ts";
import { artifactName } from "../../src/model/menu-entry.ts";

/** Deployments in the order of the menu: slot, kernel, and whether somebody pinned it. */
function machineOf(...given: [slot: Slot, kernel: string, pinned?: boolean][]): Machine {
  const deployments = given.map(([slot, artifact, pinned = false], index) => {
    const id = `${index}`.repeat(128);
    return {
      id,
      slot,
      pinned,
      entry: { id, artifact, directory: artifactName(artifact) },
      damage: [],
    } as unknown as Deployment;
  });
  const of = (slot: Slot) => deployments.find((one) => one.slot === slot);
  return {
    deployments,
    staged: of("staged"),
    booted: of("booted"),
    rollback: of("rollback"),
    others: deployments.filter(({ slot }) => slot === "other"),
  } as unknown as Machine;
}

const MB = 1e6;
const SIZES = new Map(["a", "b", "c", "d", "e"].map((name) => [artifactName(name), 50 * MB]));
const place = (free: number, needed = 51) => ({
  path: "/efi",
  free: free * MB,
  needed: needed * MB,
  kernels: SIZES,
});
const indexes = (machine: Machine, gone: readonly Deployment[]) =>
  gone.map((one) => machine.deployments.indexOf(one));

test("with room, nothing goes", () => {
  const machine = machineOf(["booted", "a"], ["rollback", "b"], ["other", "c"]);
  expect(planRoom(machine, "x", [place(51)])).toEqual([]);
});

test("the oldest goes first, as many as it takes; what is pinned, what runs and the rollback stay", () => {
  const machine = machineOf(
    ["booted", "a"],
    ["rollback", "b"],
    ["other", "c"],
    ["other", "d", true],
    ["other", "e"],
  );
  expect(indexes(machine, planRoom(machine, "x", [place(40)]))).toEqual([4]);
  expect(indexes(machine, planRoom(machine, "x", [place(0, 100)]))).toEqual([4, 2]);
  expect(() => planRoom(machine, "x", [place(0, 101)])).toThrow(
    "not enough room on the boot partition /efi: 101 MB are needed, 0 B are free",
  );
});

test("what is staged is replaced anyway, so it goes before others", () => {
  const machine = machineOf(["staged", "c"], ["booted", "a"], ["rollback", "b"], ["other", "d"]);
  expect(indexes(machine, planRoom(machine, "x", [place(10)]))).toEqual([0]);
});

test("what shares its kernel with one that stays is not deleted for nothing", () => {
  const machine = machineOf(
    ["booted", "a"],
    ["rollback", "b"],
    ["other", "c"],
    ["other", "b"],
    ["other", "a"],
  );
  expect(indexes(machine, planRoom(machine, "x", [place(10)]))).toEqual([2]);
  const only = machineOf(["booted", "a"], ["rollback", "b"], ["other", "c"]);
  // the very kernel that is to be shared is no room either
  expect(() => planRoom(only, "c", [place(60), place(0, 60)])).toThrow("/efi: 60 MB are needed");
});

test("every boot partition counts", () => {
  const machine = machineOf(["booted", "a"], ["rollback", "b"], ["other", "c"]);
  expect(indexes(machine, planRoom(machine, "x", [place(60), place(10)]))).toEqual([2]);
});

test("the hint says what frees how much", () => {
  const machine = machineOf(["booted", "a"], ["rollback", "b"], ["other", "c", true]);
  let hint: unknown;
  try {
    planRoom(machine, "x", [place(1)]);
  } catch (error) {
    hint = (error as { hint?: string }).hint;
  }
  expect(hint).toBe(
    "cfsboot delete 111111111111 (rollback) frees 50 MB; " +
      "cfsboot unpin 222222222222 and cfsboot delete 222222222222 (other) frees 50 MB",
  );
});
