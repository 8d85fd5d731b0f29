import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { linux } from "../../userspace/linux.ts";

const CFSBOOT = join(import.meta.dirname, "../../dist/cfsboot.mjs");
const NOBODY = "65534";

test("who has no IDs to give files to is told so", (ctx) => {
  if (linux.geteuid() !== 0) return ctx.skip("not root: cannot become somebody without IDs");
  if (/^(nobody|65534):/m.test(readFileSync("/etc/subuid", "utf8"))) {
    return ctx.skip("nobody has IDs here");
  }
  const { status, stdout, stderr } = spawnSync(
    "setpriv",
    [
      ...["--reuid", NOBODY, "--clear-groups", process.execPath, CFSBOOT],
      ...["install", "to-disk", "--source-imgref", "oci:/nowhere", "/nowhere/disk.raw"],
    ],
    { encoding: "utf8" },
  );
  expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
  expect(stderr).toMatch(
    /^cfsboot: error: no user namespace can be made, and only root does without: unshare: .*\nhint: apt install uidmap /,
  );
});
