import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { ascii } from "../../src/formats/bytestring.ts";
import { mountAt, parseMountInfo } from "../../src/formats/mountinfo.ts";

const bytes = (text: string) => Uint8Array.from(Buffer.from(text, "latin1"));

test("a system that composefs booted", () => {
  const [root, etc, boot, tmp] = parseMountInfo(
    bytes(`30 1 0:28 / / ro,relatime shared:1 - overlay composefs:0123 ro,lowerdir+=a,metacopy=on
31 30 253:2 /state/deploy/0123/etc /etc rw,relatime shared:2 master:7 - ext4 /dev/vda2 rw
32 30 0:40 / /boot\\040menu\\011\\134 rw - autofs systemd-1 rw,fd=1
33 30 0:41 / /\xff rw - tmpfs  rw
`),
  );
  expect(root).toEqual({
    id: 30,
    parent: 1,
    major: 0,
    minor: 28,
    root: "/",
    mountPoint: "/",
    options: ["ro", "relatime"],
    propagation: ["shared:1"],
    type: "overlay",
    source: "composefs:0123",
    superOptions: ["ro", "lowerdir+=a", "metacopy=on"],
  });
  expect([etc?.root, etc?.major, etc?.propagation]).toEqual([
    "/state/deploy/0123/etc",
    253,
    ["shared:2", "master:7"],
  ]);
  expect([boot?.mountPoint, boot?.propagation]).toEqual(["/boot menu\t\\", []]);
  expect([tmp?.mountPoint, tmp?.source]).toEqual(["/\xff", ""]);
});

test("of several mounts at a place the last one is on top", () => {
  const mounts = parseMountInfo(
    bytes("1 0 0:1 / / rw - rootfs none rw\n2 1 0:2 / / rw - ext4 /dev/a rw\n"),
  );
  expect(mountAt(mounts, ascii("/"))?.id).toBe(2);
  expect(mountAt(mounts, ascii("/usr"))).toBeUndefined();
});

test("this machine's", () => {
  const mounts = parseMountInfo(readFileSync("/proc/self/mountinfo"));
  expect(mountAt(mounts, ascii("/proc"))?.type).toBe("proc");
});

test.each([
  "\n",
  "1 0 0:1 / / rw\n",
  "1 0 0:1 / / rw -\n",
  "1 0 01 / / rw - a b c\n",
  "x 0 0:1 / / rw - a b c\n",
  "1 99999999999 0:1 / / rw - a b c\n",
])("%j is refused", (line) => {
  const text = `1 0 0:1 / / rw - a b c\n${line}`;
  expect(() => parseMountInfo(bytes(text))).toThrow("mountinfo: line 2: expected a mount, not");
});
