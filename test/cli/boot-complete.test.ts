/** `cfsboot boot-complete`, as it is shipped. */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, expect, test } from "vitest";
import {
  newGrubEnv,
  parseGrubEnv,
  serializeGrubEnv,
  setGrubEnv,
} from "../../src/formats/grubenv.ts";
import { AT_FDCWD } from "../../src/linux/constants.ts";
import { finalize } from "../../userspace/deployment/finalize.ts";
import { linux } from "../../userspace/linux.ts";
import { TestMachine } from "../deployment/machine.ts";
import { run, succeed } from "./on-machine.ts";

beforeEach((ctx) => {
  if (linux.geteuid() !== 0) ctx.skip("not root: the owners in /etc cannot be made");
});

const MENU = "esp/loader/entries";

/** A machine with an update that takes over at the next start. */
async function updated(machine: TestMachine): Promise<string> {
  await machine.stage({ version: "13" }, { counted: false });
  machine.boot();
  const second = await machine.stage({ version: "14" });
  const etc = { dirfd: AT_FDCWD, path: machine.etc(), name: "/etc" };
  machine.with((host, repository) => finalize(host, repository, { etc, strategy: "fail" }));
  return second;
}

test("an update that came up is accepted, once", async () => {
  using machine = new TestMachine();
  await updated(machine);
  const id = machine.boot();
  expect(succeed(machine, "boot-complete", "--dry-run")).toBe(
    `count the boots of ${id.slice(0, 12)} no longer in ${join(machine.path, "esp")}\n`,
  );
  expect(succeed(machine, "boot-complete")).toBe(
    "The machine has come up: its boots are counted no longer\n",
  );
  expect(machine.names(MENU)).toEqual(["bootc_debian-14-0.conf", "bootc_debian-14-1.conf"]);
  expect(succeed(machine, "boot-complete")).toBe("");
});

test("of an update that did not it fails, and tells; the menu stays", async () => {
  using machine = new TestMachine();
  const second = await updated(machine);
  const [from, to] = ["bootc_debian-14-1+3.conf", "bootc_debian-14-1+0-3.conf"];
  renameSync(join(machine.path, MENU, from), join(machine.path, MENU, to));
  machine.boot();
  expect(run(machine, "boot-complete")).toMatchObject({
    status: 1,
    stdout: "",
    stderr: expect.stringMatching(
      `^cfsboot: error: the update to ${second.slice(0, 12)} did not come up, tried 3 times\nhint: `,
    ),
  });
  expect(machine.names(MENU)).toContain(to);
});

test("what GRUB fell back to is not said to be the update", async () => {
  using machine = new TestMachine("grub");
  const file = join(machine.path, "esp/grub/grubenv");
  mkdirSync(join(machine.path, "esp/grub"));
  writeFileSync(file, serializeGrubEnv(newGrubEnv()));
  const second = await updated(machine);
  const env = parseGrubEnv(readFileSync(file), file);
  writeFileSync(file, serializeGrubEnv(setGrubEnv(env, "boot_counter", "-1")));
  const first = machine.boot();
  expect(first).not.toBe(second);
  expect(run(machine, "boot-complete")).toMatchObject({
    status: 1,
    stdout: `The machine has come up with ${first.slice(0, 12)}, not with the update\n`,
    stderr: expect.stringContaining(`the update to ${second.slice(0, 12)} did not come up`),
  });
});
