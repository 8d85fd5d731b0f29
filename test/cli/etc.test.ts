/** `cfsboot etc` on a machine: no directory has to be named. */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import { setOriginEtcConflicts } from "../../src/formats/origin.ts";
import { writeOrigin } from "../../userspace/deployment/state.ts";
import { TestMachine } from "../deployment/machine.ts";
import { fail, run, succeed } from "./on-machine.ts";

async function machineWithChange() {
  const machine = new TestMachine();
  await machine.stage({ version: "1", etc: { conf: "1\n", "was-file": "" } }, { counted: false });
  machine.boot();
  writeFileSync(machine.etc("conf"), "mine\n");
  return machine;
}

test("diff compares the machine's /etc with that of what runs", async () => {
  using machine = await machineWithChange();
  expect(succeed(machine, "etc", "diff")).toBe(
    "CHANGE    TYPE  PATH  DIFFERS\nmodified  file  conf  content\n",
  );
  expect(JSON.parse(succeed(machine, "etc", "diff", "--json"))).toMatchObject({
    changes: [{ path: "conf", change: "modified" }],
  });
});

test("conflicts are those with what is staged, or with any image", async () => {
  using machine = await machineWithChange();
  expect(fail(machine, "etc", "conflicts")).toBe(
    "cfsboot: error: nothing is staged\nhint: cfsboot etc conflicts IMAGE names another image\n",
  );
  rmSync(machine.etc("was-file"));
  const manifest = await machine.pull({ version: "3", etc: { conf: "3\n" } });
  expect(succeed(machine, "etc", "conflicts", `@${manifest}`)).toMatch(
    /^KEPT +PATH +CONFLICT\nlocal +conf /,
  );
  await machine.stage({ version: "2", etc: { conf: "1\n" } });
  expect(succeed(machine, "etc", "conflicts")).toBe("no conflicts\n");
  expect(run(machine, "etc", "conflicts", "staged", "--next", "/etc")).toMatchObject({ status: 2 });
});

test("conflicts are told as they are decided at shutdown", async () => {
  using machine = await machineWithChange();
  rmSync(machine.etc("was-file"));
  mkdirSync(machine.etc("was-file"));
  const image = { version: "2", etc: { conf: "1\n", "was-file": "changed" } };
  const manifest = await machine.pull(image);
  const stops = (text: string) => expect(text).toContain("1 conflict(s) in /etc stop the merge");
  stops(fail(machine, "etc", "conflicts", `@${manifest}`));
  mkdirSync(machine.etc("cfsboot"));
  writeFileSync(machine.etc("cfsboot/cfsboot.toml"), 'etc-conflicts = "take-image"\n');
  expect(succeed(machine, "etc", "conflicts", `@${manifest}`)).toMatch(/^image +was-file /m);
  stops(fail(machine, "etc", "conflicts", `@${manifest}`, "--etc-conflicts", "fail"));

  await machine.stage(image);
  expect(succeed(machine, "etc", "conflicts")).toMatch(/^image +was-file /m);
  machine.with((host, _repository, { staged }) => {
    const { id, state } = staged!;
    writeOrigin(host, id, setOriginEtcConflicts(state!.origin!, "keep-local"));
  });
  expect(succeed(machine, "etc", "conflicts")).toMatch(/^local +was-file /m);
});
