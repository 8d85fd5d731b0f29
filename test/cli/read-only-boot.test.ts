/** A boot partition that the kernel has made read-only, as it does with a damaged FAT file system. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";
import { linux } from "../../userspace/linux.ts";
import { TestMachine } from "../deployment/machine.ts";
import { optionsOf } from "./on-machine.ts";
import { publishIn } from "./publish.ts";

const CFSBOOT = join(import.meta.dirname, "../../dist/cfsboot.mjs");
const READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"';

test("an upgrade tells so before it fetches anything", async (ctx) => {
  if (linux.geteuid() !== 0) return ctx.skip("not root: nothing can be mounted");
  using machine = new TestMachine();
  const name = publishIn(machine.path, { version: "1" });
  const reference = { transport: "oci", name, signature: undefined } as const;
  await machine.stage({ version: "1" }, { counted: false, reference });
  machine.boot();
  publishIn(machine.path, { version: "2" });
  const before = machine.names("sysroot/composefs/streams");
  const esp = join(machine.path, "esp");
  const upgrade = [process.execPath, CFSBOOT, "upgrade", ...optionsOf(machine)];
  const { status, stderr } = spawnSync(
    "unshare",
    ["-m", "--propagation", "private", "sh", "-c", READ_ONLY, esp, ...upgrade],
    { encoding: "utf8" },
  );
  if (/permitted|permission denied/.test(stderr)) return ctx.skip("this container may not mount");
  expect({ status, stderr }).toEqual({
    status: 1,
    stderr: expect.stringMatching(
      /: \S+\/esp cannot be written to: its file system is read-only\nhint: .*fsck\.vfat/,
    ),
  });
  expect(machine.names("sysroot/composefs/streams")).toEqual(before);
});
