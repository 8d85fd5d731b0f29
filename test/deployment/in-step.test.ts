/** ESPs on several disks are kept alike. */
import { expect, test } from "vitest";
import { AT_FDCWD, O_DIRECTORY, O_RDONLY } from "../../src/linux/constants.ts";
import { removeTree } from "../../src/linux/directories.ts";
import { planRollback } from "../../src/model/menu-plan.ts";
import { bless, blessSteps } from "../../userspace/deployment/bless.ts";
import { changeMenu } from "../../userspace/deployment/change.ts";
import { outOfStep } from "../../userspace/deployment/in-step.ts";
import { bootables } from "../model-disk/boots.ts";
import type { ModelMachine } from "../model-disk/machine.ts";
import { sceneOf } from "./crash-scene.ts";

const menus = (machine: ModelMachine) =>
  [0, 1].map((place) => bootables(machine, place).map(({ id, fileName }) => `${id} ${fileName}`));

const leading = (machine: ModelMachine) => machine.with(({ places: [first] }) => first.path);

const comeUp = (machine: ModelMachine) => {
  machine.with((host, repository) => {
    expect(blessSteps(host)).not.toEqual([]);
    bless(host, repository);
    expect(blessSteps(host)).toEqual([]);
    expect(outOfStep(host)).toEqual([]);
  });
  const [first, second] = menus(machine);
  expect(second).toEqual(first);
  return first;
};

test("a disk that was replaced gets the menu and the kernels", { timeout: 60_000 }, async () => {
  const machine = (await sceneOf("ESPs on two disks")).second.copy();
  comeUp(machine);
  const esp = machine.linux.openat(AT_FDCWD, "/esp2", O_RDONLY | O_DIRECTORY);
  for (const name of ["EFI", "loader"]) removeTree(machine.linux, esp, name);
  expect(menus(machine)[1]).toEqual([]);
  expect(comeUp(machine)).toHaveLength(2);
});

test("the menu counts that knows what runs, whatever disk the firmware takes", {
  timeout: 60_000,
}, async () => {
  const { second, first, manifests, ids } = await sceneOf("ESPs on two disks");
  // the power fails when the last disk has the new menu, and the first has not
  const halfDone = first.copy();
  halfDone.stage(manifests[1]);
  let exchanged = 0;
  halfDone.linux.onChange = (change) => {
    if (change.type === "names" && change.changes.length === 2 && change.fs.kind === "fat") {
      if (++exchanged === 1) halfDone.linux.changesLeft = 0;
    }
  };
  expect(() => halfDone.finalize()).toThrow();
  const fromFirst = halfDone.booted(halfDone.disk, 0);
  expect([fromFirst.running?.id, leading(fromFirst)]).toEqual([ids[0], "/esp"]);
  const fromSecond = halfDone.booted(halfDone.disk, 1);
  expect([fromSecond.running?.id, leading(fromSecond)]).toEqual([ids[1], "/esp2"]);
  comeUp(fromSecond);
  expect(bootables(fromSecond, 0).map(({ id }) => id)).toEqual([ids[1], ids[0]]);

  const rolledBack = second.copy();
  rolledBack.with((host, _repository, seen) =>
    changeMenu(host, seen, planRollback(seen, undefined, false)),
  );
  expect(menus(rolledBack)[1]).toEqual(menus(rolledBack)[0]);
  expect(leading(rolledBack.booted(rolledBack.disk, 1))).toBe("/esp");
});
