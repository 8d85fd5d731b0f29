/** The power fails, or the program is killed, while a boot partition gets again what it has lost. */
import { describe, expect, test } from "vitest";
import { removeTree, withDirectory } from "../../src/linux/directories.ts";
import { understand } from "../../src/model/deployments.ts";
import { artifactName } from "../../src/model/menu-entry.ts";
import { ENTRIES } from "../../userspace/bootloader/boot-place.ts";
import { readMenu } from "../../userspace/bootloader/entries.ts";
import { observe } from "../../userspace/deployment/observe.ts";
import { planRepair, repair, repairSteps } from "../../userspace/deployment/repair.ts";
import { bootables } from "../model-disk/boots.ts";
import { PowerFailure } from "../model-disk/crash.ts";
import { ModelMachine } from "../model-disk/machine.ts";
import { type Act, collectAll, menuOf, proveKilled, SEED } from "./crash-proof.ts";
import { type LayoutName, type Scene, sceneOf } from "./crash-scene.ts";

const timeout = 600_000;

const mend: Act = (machine) =>
  machine.with((host, repository) => {
    const cmdline = `BOOT_IMAGE=/x root=UUID=1234 rw composefs=?${host.running?.id}`;
    const plan = planRepair({ ...host, cmdline }, repository, observe(host, repository));
    expect(plan.hopeless).toEqual(new Map());
    if (repairSteps(plan).length > 0) repair(host, plan);
  });

/** What one may lose, of a machine that runs the second image and has the first behind it. */
const LOSSES: Readonly<Record<string, (machine: ModelMachine, scene: Scene) => void>> = {
  "the kernel of the rollback": (machine, { ids: [first] }) =>
    machine.with(({ linux, places: [place] }) => {
      withDirectory(linux, place.directory, place.kernels, (kernels) => {
        removeTree(linux, kernels, artifactName(first));
        linux.syncfs(kernels);
      });
    }),
  "half of the kernel that runs": (machine, { ids: [, second] }) =>
    machine.with(({ linux, places: [place] }) => {
      withDirectory(
        linux,
        place.directory,
        `${place.kernels}/${artifactName(second)}`,
        (kernel) => {
          removeTree(linux, kernel, "initrd");
          linux.syncfs(kernel);
        },
      );
    }),
  "the entry of what runs": (machine, { ids: [, second] }) =>
    machine.with(({ linux, places: [place] }) => {
      const own = readMenu(linux, place, ENTRIES, () => true)?.own ?? [];
      withDirectory(linux, place.directory, ENTRIES, (entries) => {
        for (const { id, fileName } of own) {
          if (id === second) removeTree(linux, entries, fileName);
        }
        linux.syncfs(entries);
      });
    }),
  everything: (machine) =>
    machine.with(({ linux, places: [place] }) => {
      for (const name of ["loader", "EFI"]) removeTree(linux, place.directory, name);
      linux.syncfs(place.directory);
    }),
};

function startOf(scene: Scene, loss: keyof typeof LOSSES): ModelMachine {
  const machine = scene.second.copy();
  LOSSES[loss]!(machine, scene);
  return machine;
}

/** Of what is not said to be damaged, everything is as it was. */
function expectHonest(machine: ModelMachine, whole: readonly string[]): void {
  const damaged = machine.with((host, repository) =>
    understand(observe(host, repository).seen).deployments.some(({ damage }) => damage.length > 0),
  );
  if (damaged) return;
  for (const one of menuOf(bootables(machine))) expect(whole).toContain(one);
}

describe("the program is killed at any moment, and started again", () => {
  test.each(Object.keys(LOSSES))("%s", { timeout }, async (loss) => {
    const scene = await sceneOf("an ESP");
    const start = (from: Scene) => startOf(from, loss);
    expect(await proveKilled(scene, { start, act: mend })).toBeGreaterThan(3);
  });
});

const CASES: readonly (readonly [keyof typeof LOSSES, LayoutName])[] = [
  ...Object.keys(LOSSES).map((loss) => [loss, "an ESP"] as const),
  ["the kernel of the rollback", "GRUB with /boot on the root"],
];

describe("the power fails at any moment, and the machine is started by other means", () => {
  test.each(CASES)("%s, %s", { timeout }, async (loss, layout) => {
    const scene = await sceneOf(layout);
    const whole = menuOf(bootables(scene.second));
    const initial = startOf(scene, loss);
    const done = initial.copy();
    const failure = new PowerFailure(initial.disk, SEED);
    for (const change of await done.record((machine) => mend(machine, scene))) {
      failure.advance(change);
      for (const disk of failure.newStates()) {
        const left = disk.copy(({ kind }) => kind !== "memory");
        const machine = new ModelMachine(scene.second.layout, left, scene.second.running, 9);
        expectHonest(machine, whole);
        // an entry that is new has its kernel
        if (!loss.includes("kernel")) bootables(machine);
        if (failure.seen % 5 !== 0) continue;
        mend(machine, scene);
        collectAll(machine);
        expect(menuOf(bootables(machine))).toEqual(whole);
      }
    }
    expect(menuOf(bootables(done))).toEqual(whole);
    expect(failure.seen).toBeGreaterThan(5);
  });
});
