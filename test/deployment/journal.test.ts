/** GRUB replays no journal: what it is to see must be in its own place before a command ends. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Linux } from "../../src/linux/linux.ts";
import { planRollback } from "../../src/model/menu-plan.ts";
import { changeMenu } from "../../userspace/deployment/change.ts";
import { finalize } from "../../userspace/deployment/finalize.ts";
import type { Host } from "../../userspace/deployment/host.ts";
import { changeKargs, planKargs } from "../../userspace/deployment/karg.ts";
import { observe } from "../../userspace/deployment/observe.ts";
import { linux } from "../../userspace/linux.ts";
import { TestMachine } from "./machine.ts";

const IOCTLS: Readonly<Record<number, string>> = { 3221510263: "freeze", 3221510264: "thaw" };

/** The host with a journal on its boot partition, which is not really frozen. */
function journaled(host: Host, calls: string[]): Host {
  const recording: Linux = {
    ...linux,
    renameat2(...args) {
      linux.renameat2(...args);
      if (`${args[3]}`.endsWith("entries") || args[3] === "grubenv") calls.push(`${args[3]}`);
    },
    unlinkat(...args) {
      linux.unlinkat(...args);
      if (`${args[1]}`.startsWith("entries.cfsboot-tmp")) calls.push("old entries are removed");
    },
    ioctlValue(fd, request, argument) {
      if (fd !== host.places[0].directory) return linux.ioctlValue(fd, request, argument);
      calls.push(IOCTLS[request] ?? `${request}`);
      return 0;
    },
  };
  return { ...host, linux: recording, places: [{ ...host.places[0], journaled: true }] };
}

test("whatever changes the menu empties the journal of /boot before it and after it, before the old menu goes; GRUB's variables after it", async () => {
  using machine = new TestMachine("grub");
  mkdirSync(join(machine.path, "esp/grub"));
  await machine.stage({ version: "1", kernel: "first" }, { counted: false });
  machine.boot();
  await machine.stage({ version: "2", kernel: "second" });

  const run = (action: (host: Host) => void): string[] => {
    const calls: string[] = [];
    machine.with((host) => action(journaled(host, calls)));
    return calls.map((name) => name.slice(name.lastIndexOf("/") + 1));
  };
  const frozen = ["freeze", "thaw"];
  const menu = [...frozen, "entries", ...frozen, "old entries are removed"];
  const finalized = run((host) =>
    machine.with((_host, repository) => {
      const etc = {
        dirfd: host.sysroot,
        path: `state/deploy/${machine.running}/etc`,
        name: "/etc",
      };
      finalize(host, repository, { etc, strategy: "fail" });
    }),
  );
  expect(finalized).toEqual(["grubenv", ...frozen, ...menu]);
  machine.boot();
  const kargs = run((host) =>
    machine.with((_host, repository, { deployments }) => {
      const plan = planKargs(deployments, [{ edit: "add", karg: "added" }]);
      changeKargs(host, observe(host, repository).seen, plan);
    }),
  );
  expect(kargs).toEqual(menu);
  const rolledBack = run((host) =>
    machine.with((_host, _repository, state) =>
      changeMenu(host, state, planRollback(state, undefined, false)),
    ),
  );
  expect(rolledBack).toEqual([...menu, "grubenv", ...frozen]);
});
