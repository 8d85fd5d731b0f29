/** The power fails while a menu is replaced in which a file cannot be read. */
import { expect, test } from "vitest";
import { AT_FDCWD } from "../../src/linux/constants.ts";
import { ifThere } from "../../src/linux/directories.ts";
import { readFile } from "../../src/linux/files.ts";
import { understand } from "../../src/model/deployments.ts";
import { planRollback } from "../../src/model/menu-plan.ts";
import { changeMenu } from "../../userspace/deployment/change.ts";
import { observe } from "../../userspace/deployment/observe.ts";
import { badSectors } from "../bootloader/bad-sectors.ts";
import { bootables } from "../model-disk/boots.ts";
import { PowerFailure } from "../model-disk/crash.ts";
import { ModelMachine } from "../model-disk/machine.ts";
import { menuOf, SEED } from "./crash-proof.ts";
import { FOREIGN, sceneOf } from "./crash-scene.ts";

const [, DEEP, FLAT] = FOREIGN as [string, string, string];

/** Puts the deployment first that does not run; or does that again. */
const rollBack = (machine: ModelMachine, id: string, bad: string) =>
  machine.with((found, repository) => {
    const host = { ...found, linux: badSectors(found.linux, bad.split("/").at(-1)!) };
    const seen = understand(observe(host, repository).seen);
    const target = seen.deployments.find((one) => one.id === id)!;
    changeMenu(host, seen, planRollback(seen, target, false));
  });

const contentOf = ({ linux }: ModelMachine, path: string, bad: string) =>
  ifThere(() =>
    Buffer.from(readFile(linux, AT_FDCWD, `${path}/loader/entries/${bad}`, 1000)).toString(),
  );

test.each([
  // vfat writes where a name leads later than the name
  ["an ESP", FLAT, "may be gone"],
  ["an ESP", DEEP, "may be gone"],
  ["GRUB with a /boot of its own", FLAT, "stays"],
] as const)(
  "%s: the menu is the old one or the new one, and the file %s %s",
  {
    timeout: 600_000,
  },
  async (layout, bad, fate) => {
    const { second, ids } = await sceneOf(layout);
    const { path } = second.layout.places[0];
    const initial = second.copy();
    const before = menuOf(bootables(initial));
    const done = initial.copy();
    const changes = await done.record((machine) => rollBack(machine, ids[0], bad));
    const after = menuOf(bootables(done));
    expect(after).toEqual([...before].reverse());
    expect([contentOf(done, path, bad), done.linux.damage]).toEqual([`of ${bad}\n`, []]);

    const failure = new PowerFailure(initial.disk, SEED);
    const fates = new Set<string | undefined>();
    for (const change of changes) {
      failure.advance(change);
      for (const disk of failure.newStates()) {
        const left = disk.copy(({ kind }) => kind !== "memory");
        const machine = new ModelMachine(second.layout, left, second.running, 9);
        expect([before, after]).toContainEqual(menuOf(bootables(machine)));
        rollBack(machine, ids[0], bad);
        expect([menuOf(bootables(machine)), machine.linux.damage]).toEqual([after, []]);
        fates.add(contentOf(machine, path, bad));
      }
    }
    expect(failure.seen).toBeGreaterThan(5);
    const allowed = fate === "stays" ? [`of ${bad}\n`] : [`of ${bad}\n`, "", undefined];
    for (const one of fates) expect(allowed).toContain(one);
  },
);
