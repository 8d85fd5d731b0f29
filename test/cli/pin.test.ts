/** `cfsboot pin` of what is only staged yet. */
import { expect, test } from "vitest";
import { TestMachine } from "../deployment/machine.ts";
import { fail, succeed } from "./on-machine.ts";
import { publishIn } from "./publish.ts";

test("what is staged and pinned is not replaced by a newer image, which is not fetched either", async () => {
  using machine = new TestMachine();
  const name = publishIn(machine.path, { version: "1" });
  const reference = { transport: "oci", name, signature: undefined } as const;
  await machine.stage({ version: "1" }, { counted: false, reference });
  machine.boot();
  const staged = await machine.stage({ version: "2" }, { reference });
  succeed(machine, "pin", "staged");
  publishIn(machine.path, { version: "3" });
  const before = machine.names("sysroot/composefs/streams");
  const refusal = `${staged.slice(0, 12)} is staged and pinned, and would be lost\nhint: reboot into it first; or cfsboot unpin staged\n`;
  expect(fail(machine, "upgrade")).toContain(refusal);
  expect(fail(machine, "upgrade", "--dry-run")).toContain(refusal);
  expect(machine.names("sysroot/composefs/streams")).toEqual(before);

  succeed(machine, "finalize-staged");
  expect(machine.boot()).toBe(staged);
  succeed(machine, "upgrade");
  succeed(machine, "finalize-staged");
  machine.boot();
  const { deployments } = JSON.parse(succeed(machine, "status", "--json")).cfsboot;
  expect(deployments.map((one: { id: string }) => one.id)).toContain(staged);
});
