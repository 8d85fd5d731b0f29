import { expect, test } from "vitest";
import { parseMountInfo } from "../../src/formats/mountinfo.ts";
import { findRunning } from "../../src/model/running.ts";

const A = "aa".repeat(64);
const B = "bb".repeat(32);

function mounts(source: string, options = "ro,verity=require", type = "overlay") {
  return parseMountInfo(
    Buffer.from(
      `20 1 0:2 / / rw - rootfs none rw\n28 20 0:25 / / ro - ${type} ${source} ${options}\n29 28 254:2 / /sysroot ro - ext4 /dev/vda2 rw\n`,
    ),
  );
}

test.each([
  [
    "composefs",
    mounts(`composefs:${A}`),
    `composefs=${A}`,
    { id: A, insecure: false, transient: false },
  ],
  [
    "without fs-verity",
    mounts(`composefs:${A}`, "ro"),
    `composefs=?${A}`,
    { id: A, insecure: true, transient: false },
  ],
  [
    "SHA-256 (composefs-rs#197)",
    mounts(`composefs:${B}`),
    `composefs.digest=v1-sha256-12:${B}`,
    { id: B, insecure: false, transient: false },
  ],
  [
    "transient",
    mounts(`transient:composefs=${A}`, "rw"),
    `composefs=${A}`,
    { id: A, insecure: false, transient: true },
  ],
  [
    "transient, without fs-verity",
    mounts(`transient:composefs=${A}`, "rw"),
    `composefs=?${A}`,
    { id: A, insecure: true, transient: true },
  ],
  [
    "after a soft reboot the mount counts, and the ? is not lost (bootc defect: ? after a soft reboot)",
    mounts(`composefs:${B}`, "ro"),
    `composefs=?${A}`,
    { id: B, insecure: true, transient: false },
  ],
])("%s", (_, info, cmdline, expected) => {
  expect(findRunning(info, cmdline)).toEqual(expected);
});

test.each([
  [
    "another root",
    mounts("/dev/vda2", "rw", "ext4"),
    "/ is mounted from /dev/vda2 (ext4), not from composefs",
  ],
  [
    "no digest",
    mounts("composefs:12"),
    "/ is mounted from composefs:12 (overlay), not from composefs",
  ],
  ["nothing", [], "nothing is mounted on /"],
])("%s is not composefs, and it says why", (_, info, why) => {
  expect(findRunning(info, `composefs=${A}`)).toEqual({ id: undefined, why });
});
