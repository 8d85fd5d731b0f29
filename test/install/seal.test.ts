import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { observe } from "../../userspace/deployment/observe.ts";
import { requireVerity } from "../../userspace/install/seal.ts";
import { SEAL_STAMP } from "../../userspace/install/seal-stamp.ts";
import { TestMachine } from "../deployment/machine.ts";

test("all entries require fs-verity, what is staged too, and the note goes", async () => {
  using machine = new TestMachine();
  await machine.stage({ version: "12" });
  machine.boot();
  await machine.stage({ version: "13" });
  const stamp = join(machine.path, "sysroot", SEAL_STAMP);
  writeFileSync(stamp, "");
  const entries = (directory: string) =>
    machine.names(directory).map((name) => machine.read(`${directory}/${name}`));
  const before = entries("esp/loader/entries.staged");
  expect(before.join("")).toMatch(/^options root=UUID=1234 rw composefs=\?[0-9a-f]{64}$/m);

  const seal = () =>
    machine.with((host, repository) => requireVerity(host, observe(host, repository).seen));
  expect(seal()).toHaveLength(2);

  expect(entries("esp/loader/entries.staged")).toEqual(
    before.map((text) => text.replace("composefs=?", "composefs=")),
  );
  expect(entries("esp/loader/entries").join("")).toMatch(/^options .* composefs=[0-9a-f]{64}$/m);
  expect(existsSync(stamp)).toBe(false);
  expect(seal()).toEqual([]);
});
