import { expect, test } from "vitest";
import { joinBootCount } from "../../src/formats/boot-count.ts";
import { requireSound, triedAnew } from "../../src/model/menu-changes.ts";
import { menuFiles, namesOfEntry } from "../../src/model/menu-files.ts";
import { planRollback } from "../../src/model/menu-plan.ts";
import { filesOf, idOf, machineOf, menuOf } from "./machine.ts";

const os = { osId: "debian", version: "13" };

/** A machine that runs the second of two deployments; the first has such a counter. */
function machine(left: number, done: number) {
  const files = [1, 2].map((number, place) => {
    const [file] = filesOf({ menu: [{ id: idOf(number), entry: undefined }], dropped: [] }, os);
    const name = `bootc_debian-13-${1 - place}.conf`;
    return { ...file!, name: number === 1 ? joinBootCount(name, { left, done }) : name };
  });
  return machineOf(menuOf(files, "systemd-boot"), idOf(2));
}

test("one that has used up its tries comes first again, and is tried as often as before", () => {
  const failed = machine(0, 3);
  const target = failed.deployments.find(({ id }) => id === idOf(1));
  const plan = planRollback(failed, target, false);
  const files = (of: typeof plan) =>
    menuFiles(of.menu, namesOfEntry(of.menu[0]!.entry!), undefined);
  // as it is it would be last, wherever it is put
  expect(menuOf(files(plan), "systemd-boot").map(({ id }) => id)).toEqual([idOf(2), idOf(1)]);
  const menu = menuOf(files(triedAnew(plan)), "systemd-boot");
  expect(menu.map(({ id, tries }) => [id, tries])).toEqual([
    [idOf(1), { left: 3, done: 0 }],
    [idOf(2), undefined],
  ]);
});

test("a counter that is running goes on", () => {
  const running = machine(2, 1);
  const target = running.deployments.find(({ id }) => id === idOf(1));
  const plan = planRollback(running, target, false);
  expect(triedAnew(plan)).toEqual(plan);
});

test("what is known not to come up is refused", () => {
  const [, failed] = machine(0, 3).deployments;
  expect(() => requireSound(failed!)).toThrow("would not come up: it was tried 3 times");
  const [sound] = machine(2, 1).deployments;
  expect(() => requireSound(sound!)).not.toThrow();
});
