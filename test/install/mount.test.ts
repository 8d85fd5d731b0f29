/** Mounting a deployment of a disk: in a mount namespace of its own, which only root may make. */
import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { TestMachine } from "../deployment/machine.ts";

const CFSBOOT = join(import.meta.dirname, "../../dist/cfsboot.mjs");

/** Mounts the machine's first deployment and runs a shell script in its directory. */
function mount(machine: TestMachine, script: string, ...args: string[]) {
  const target = join(machine.path, "target");
  mkdirSync(target, { recursive: true });
  const [sysroot, esp] = [join(machine.path, "sysroot"), join(machine.path, "esp")];
  const command = [
    CFSBOOT,
    "install",
    "mount",
    "--sysroot",
    sysroot,
    "--esp",
    esp,
    ...args,
    target,
  ];
  return spawnSync(
    "unshare",
    [
      "--mount",
      "sh",
      "-c",
      `"$@" && cd "$0" && { ${script}; }`,
      target,
      process.execPath,
      ...command,
    ],
    { encoding: "utf8" },
  );
}

test("the deployment with its own /etc, in which changes stay; none with --read-only (bootc#2300, bootc#2483)", async (ctx) => {
  using machine = new TestMachine();
  const id = await machine.stage({ version: "13", files: [{ path: "var/" }] });
  const { stdout, stderr, status } = mount(
    machine,
    "cat etc/hostname usr/lib/os-release; echo changed > etc/motd; touch usr/new",
  );
  if (/not permitted|ENODEV|no such device|unshare/i.test(stderr) && stdout === "") {
    ctx.skip(`deployments cannot be mounted here: ${stderr.split("\n")[0]}`);
  }
  expect(stderr).not.toContain("error");
  expect(stdout).toContain(`Mounted ${id.slice(0, 12)} on `);
  expect(stdout).toContain("image\nID=debian\n");
  expect({ status, stderr }).toEqual({
    status: 1,
    stderr: expect.stringContaining("Read-only file system"),
  });
  expect(machine.read(`sysroot/state/deploy/${id}/etc/motd`)).toBe("changed\n");

  const second = mount(machine, "cat etc/motd; echo again > etc/motd", "--read-only");
  expect(second.stdout).toContain("changed\n");
  expect(second.stderr).toContain("Read-only file system");
});
