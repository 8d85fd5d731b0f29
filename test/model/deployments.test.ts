import { expect, test } from "vitest";
import { findDeployment, understand } from "../../src/model/deployments.ts";
import { artifactName } from "../../src/model/menu-entry.ts";
import { planNew } from "../../src/model/menu-plan.ts";
import { filesOf, idOf, machineOf, menuOf, observe } from "./machine.ts";

const OS = { osId: "debian", version: "13" };
const [A, B, C] = [1, 2, 3].map(idOf) as [string, string, string];

function menu(...order: readonly string[]) {
  const plan = {
    menu: order.map((id) => ({ id, entry: undefined })),
    dropped: [],
  };
  let files = filesOf({ menu: [], dropped: [] }, OS);
  for (const { id } of plan.menu.toReversed()) {
    const before = menuOf(files, "systemd-boot");
    files = filesOf(planNew(machineOf(before, before[0]?.id), id, 9), OS);
  }
  return menuOf(files, "systemd-boot");
}

test("nothing was booted by composefs: all are others", () => {
  const machine = machineOf(menu(A, B), undefined);
  expect(machine).toMatchObject({ booted: undefined, rollback: undefined, rollbackQueued: false });
  expect(machine.others.map(({ id }) => id)).toEqual([A, B]);
});

test("what runs may be missing from the menu", () => {
  const machine = machineOf(menu(B, C), A);
  expect(machine).toMatchObject({ booted: undefined, rollback: { id: B }, rollbackQueued: false });
});

test("a staged menu without a record, and a record without a menu, are left-overs", () => {
  const live = menu(A, B);
  expect(machineOf(live, A, { stagedMenu: menu(C, A) })).toMatchObject({
    staged: undefined,
    leftovers: { stagedMenu: true, record: undefined, states: [C], artifacts: [artifactName(C)] },
  });
  expect(machineOf(live, A, { record: { id: C, locked: false } })).toMatchObject({
    staged: undefined,
    leftovers: { stagedMenu: false, record: C },
  });
});

test("after the shutdown the record of an earlier boot says nothing more", () => {
  const machine = machineOf(menu(C, A), C, { record: { id: C, locked: false } });
  expect(machine).toMatchObject({ staged: undefined, booted: { id: C }, rollback: { id: A } });
});

test("a locked one is staged, and only downloaded", () => {
  const stagedMenu = menu(C, A);
  const machine = machineOf(menu(A, B), A, { stagedMenu, record: { id: C, locked: true } });
  expect(machine.staged).toMatchObject({ id: C, downloadOnly: true });
  expect(machine.deployments.map(({ id, slot }) => `${slot} ${id.slice(0, 2)}`)).toEqual([
    "staged 03",
    "booted 01",
    "rollback 02",
  ]);
});

test("what is damaged is told, and why", () => {
  const live = menu(A, B, C);
  const seen = observe(live, A);
  const machine = understand({
    ...seen,
    artifacts: new Map([
      [artifactName(A), true],
      [artifactName(B), false],
    ]),
    images: new Set([A, B]),
    states: seen.states.filter(({ id }) => id !== C),
  });
  expect(machine.deployments.map(({ damage }) => damage)).toEqual([
    [],
    [`its kernel ${B} is incomplete on the boot partition`],
    [
      `its kernel ${C} is not on the boot partition`,
      "its image is not in the repository",
      "it has no state directory",
    ],
  ]);
});

test("one that was tried three times is damaged (bootc#1981)", () => {
  const live = menu(A, B).map((entry) =>
    entry.id === A ? { ...entry, tries: { left: 0, done: 3 } } : entry,
  );
  const machine = machineOf(live, B);
  expect(machine.deployments[0]!.damage).toEqual(["it was tried 3 times and did not come up"]);
});

test("the rollback is the first that would come up, and the first only if none would", () => {
  const live = menu(A, B, C);
  const seen = observe(live, A);
  const slots = (images: readonly string[]) =>
    understand({ ...seen, images: new Set(images) }).deployments.map(({ slot }) => slot);
  expect(slots([A, B, C])).toEqual(["booted", "rollback", "other"]);
  expect(slots([A, C])).toEqual(["booted", "other", "rollback"]);
  expect(slots([A])).toEqual(["booted", "rollback", "other"]);
});

test("a kernel that another deployment has brought is in use (bootc#2102)", () => {
  const [a, b] = menu(A, B) as [ReturnType<typeof menu>[0], ReturnType<typeof menu>[0]];
  const machine = machineOf([{ ...a!, artifact: C, directory: artifactName(C) }, b!], A, {
    artifacts: new Map([
      [artifactName(C), true],
      [artifactName(B), true],
      [artifactName(A), true],
    ]),
  });
  expect(machine.leftovers.artifacts).toEqual([artifactName(A)]);
  expect(machine.booted!.damage).toEqual([]);
});

test("deployments are named by index, slot, id, or its beginning", () => {
  const machine = machineOf(menu(A, B, C), A);
  expect(findDeployment(machine, "1").id).toBe(B);
  expect(findDeployment(machine, "booted").id).toBe(A);
  expect(findDeployment(machine, C.slice(0, 6)).id).toBe(C);
  expect(findDeployment(machine, C).id).toBe(C);
  expect(() => findDeployment(machine, "staged")).toThrow(
    "deployment staged: there is no such deployment; there are 0 010101010101 (booted), 1 020202020202 (rollback), 2 030303030303 (other)",
  );
  const other = menu(`${C.slice(0, 8)}${B.slice(8)}`, C);
  expect(() => findDeployment(machineOf(other, undefined), "0303")).toThrow("more than one");
});
