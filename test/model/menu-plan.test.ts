import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { serializeBlsEntry, setBlsSortKey } from "../../src/formats/bls-entry.ts";
import { setOriginPinned } from "../../src/formats/origin.ts";
import type { MenuEntry } from "../../src/model/menu-entry.ts";
import type { MenuFile } from "../../src/model/menu-files.ts";
import {
  entryNames,
  type MenuPlan,
  planDelete,
  planNew,
  planRollback,
} from "../../src/model/menu-plan.ts";
import { entryFor, filesOf, idOf, machineOf, menuOf, type Os, observe } from "./machine.ts";

const DEBIAN: Os = { osId: "debian", version: "13" };
const [A, B, C, D] = [1, 2, 3, 4].map(idOf) as [string, string, string, string];
const LOADERS = ["systemd-boot", "grub"] as const;

function ids(menu: readonly { readonly id: string }[]): string[] {
  return menu.map(({ id }) => id);
}

/** A menu that was made of scratch, in this order. */
function fresh(loader: (typeof LOADERS)[number], ...order: readonly string[]): MenuEntry[] {
  let files: MenuFile[] = [];
  for (const [place, id] of order.toReversed().entries()) {
    const before = menuOf(files, loader);
    const plan = planNew(machineOf(before, before[0]?.id), id, order.length);
    expect(ids(plan.menu)).toHaveLength(place + 1);
    files = filesOf(plan, DEBIAN);
  }
  return menuOf(files, loader);
}

describe.each(LOADERS)("%s", (loader) => {
  test("shows menus in the order of the plan, whatever was done before (bootc#1777, bootc#1887, bootc#1888, bootc#2208, bootc#2221, bootc#2224, bootc#2405)", () => {
    const os = fc.record({
      osId: fc.constantFrom("debian", "fedora", "my-os", "bootc", "Z", "a b"),
      version: fc.constantFrom("13", "9", "13.1", "40-rc1", "rolling", "2026.11+1", ""),
    });
    const step = fc.oneof(
      { weight: 3, arbitrary: fc.record({ kind: fc.constant("stage" as const), os }) },
      fc.record({ kind: fc.constant("rollback" as const), to: fc.nat(5) }),
      fc.record({ kind: fc.constant("delete" as const), which: fc.nat(5) }),
      fc.record({ kind: fc.constant("boot" as const), which: fc.nat(5) }),
    );
    fc.assert(
      fc.property(
        os,
        fc.array(step, { maxLength: 20 }),
        fc.integer({ min: 2, max: 12 }),
        (first, steps, keep) => {
          let next = 1;
          const systems = new Map<string, Os>();
          let files: MenuFile[] = [];
          let running: string | undefined;
          const carryOut = (plan: MenuPlan) => {
            const head = plan.menu[0]!;
            files = filesOf(plan, systems.get(head.id)!);
            expect(ids(menuOf(files, loader))).toEqual(ids(plan.menu));
          };
          const stage = (system: Os) => {
            const id = idOf(next++);
            systems.set(id, system);
            carryOut(planNew(machineOf(menuOf(files, loader), running), id, keep));
            running ??= id;
          };
          stage(first);
          for (const one of steps) {
            const machine = machineOf(menuOf(files, loader), running);
            const { deployments } = machine;
            if (one.kind === "stage") stage(one.os);
            else if (one.kind === "rollback") {
              const target = deployments[one.to % deployments.length]!;
              carryOut(planRollback(machine, target, false));
            } else if (one.kind === "boot") {
              running = deployments[one.which % deployments.length]!.id;
            } else {
              const target = deployments[one.which % deployments.length]!;
              if (target !== machine.booted) carryOut(planDelete(machine, target));
            }
          }
        },
      ),
    );
  });

  test("entries that bootc has left with several families of sort keys come into one order", () => {
    // after a rollback by bootc, whose keys and names are of "bootc", and a staging, whose are of the system
    const file = (id: string, name: string, key: string): MenuFile => ({
      name,
      bytes: serializeBlsEntry(setBlsSortKey(entryFor(id, DEBIAN), key)),
    });
    const menu = menuOf(
      [
        file(A, "bootc_bootc-13-1.conf", "bootc-bootc-0"),
        file(B, "bootc_debian-13-0.conf", "bootc-debian-1"),
      ],
      loader,
    );
    const machine = machineOf(menu, A);
    for (const plan of [planNew(machine, C, 3), planRollback(machine, undefined, false)]) {
      expect(ids(menuOf(filesOf(plan, DEBIAN), loader))).toEqual(ids(plan.menu));
    }
  });

  test("a rollback goes back to the one before; a second one takes it back (bootc defect: rollbackQueued on GRUB)", () => {
    const menu = fresh(loader, A, B, C);
    const first = machineOf(menu, A);
    expect(first).toMatchObject({ booted: { id: A }, rollback: { id: B }, rollbackQueued: false });
    const queued = planRollback(first, undefined, false);
    expect(ids(queued.menu)).toEqual([B, A, C]);
    const second = machineOf(menuOf(filesOf(queued, DEBIAN), loader), A);
    expect(second).toMatchObject({ booted: { id: A }, rollback: { id: B }, rollbackQueued: true });
    expect(ids(planRollback(second, undefined, false).menu)).toEqual([A, B, C]);
  });

  test("a rollback goes to any deployment (bootc defect: rollback of more than two)", () => {
    const machine = machineOf(fresh(loader, A, B, C), A);
    expect(ids(planRollback(machine, machine.others[0], false).menu)).toEqual([C, A, B]);
  });
});

test("with two entries the names are bootc's", () => {
  expect(entryNames(2, "my-os", "13")).toEqual([
    { fileName: "bootc_my_os-13-1", sortKey: "bootc-my-os-0" },
    { fileName: "bootc_my_os-13-0", sortKey: "bootc-my-os-1" },
  ]);
});

test("so many are kept as are to be; pinned ones besides (bootc#904)", () => {
  const menu = fresh("systemd-boot", A, B, C);
  const plan = planNew(machineOf(menu, B), D, 2);
  expect(ids(plan.menu)).toEqual([D, B]);
  expect(ids(plan.dropped)).toEqual([A, C]);
  expect(ids(planNew(machineOf(menu, A), D, 3).menu)).toEqual([D, A, B]);

  const seen = observe(menu, A);
  const pinned = seen.states.map((state) =>
    state.id === C ? { ...state, origin: setOriginPinned(state.origin!, true) } : state,
  );
  const machine = machineOf(menu, A, { states: pinned });
  expect(ids(planNew(machine, D, 2).menu)).toEqual([D, A, C]);
  expect(() => planDelete(machine, machine.others[0]!)).toThrow("it is pinned");
});

test("a rollback does not drop a staged deployment unless it is told to (bootc#1418, bootc#2208, bootc#2213)", () => {
  const menu = fresh("systemd-boot", A, B);
  const stagedMenu = fresh("systemd-boot", C, A);
  const machine = machineOf(menu, A, { stagedMenu, record: { id: C, locked: false } });
  expect(machine.staged).toMatchObject({ id: C, slot: "staged" });
  expect(() => planRollback(machine, undefined, false)).toThrow("is staged, and would be lost");
  expect(planRollback(machine, undefined, true)).toMatchObject({
    menu: [{ id: B }, { id: A }],
    dropped: [{ id: C }],
  });
  // a new one takes its place, and of what was staged nothing remains
  expect(planNew(machine, D, 2)).toMatchObject({
    menu: [{ id: D }, { id: A }],
    dropped: [{ id: C }, { id: B }],
  });
});

test("what runs is not deleted; there may be nothing to go back to", () => {
  const machine = machineOf(fresh("systemd-boot", A), A);
  expect(() => planDelete(machine, machine.booted!)).toThrow("what runs cannot be removed");
  expect(() => planRollback(machine, undefined, false)).toThrow("no deployment to go back to");
});
