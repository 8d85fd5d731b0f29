import { expect, test } from "vitest";
import { parseLsblk } from "../../src/formats/lsblk.ts";
import { findBootPartitions } from "../../src/model/boot-partitions.ts";

const ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
const XBOOTLDR = "bc13c2ff-59e6-4262-a352-b275fd6f7172";
const ROOT = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709";

let minor = 0;
function device(path: string, type: string, more: Record<string, unknown> = {}) {
  const number = `8:${minor++}`;
  return {
    path: `/dev/${path}`,
    type,
    "maj:min": number,
    parttype: null,
    fstype: null,
    uuid: null,
    partuuid: null,
    mountpoints: [null],
    ro: false,
    size: 1 << 30,
    ...more,
  };
}

function parse(...blockdevices: object[]) {
  return parseLsblk(Buffer.from(JSON.stringify({ blockdevices })));
}

const raid = { ...device("md0", "raid1"), "maj:min": "9:0" };

function half(name: string, ...more: object[]) {
  return device(name, "disk", {
    children: [
      device(`${name}1`, "part", { parttype: ESP, fstype: "vfat" }),
      ...more,
      device(`${name}3`, "part", { parttype: ROOT, children: [raid] }),
    ],
  });
}

test("the partitions of the disk that the root is on; other disks do not count", () => {
  const root = device("sda3", "part", { parttype: ROOT, mountpoints: ["/sysroot", "/"] });
  const devices = parse(
    device("sdb", "disk", { children: [device("sdb1", "part", { parttype: ESP })] }),
    device("sda", "disk", {
      children: [
        device("sda1", "part", { parttype: ESP, mountpoints: ["/efi", null] }),
        device("sda2", "part", { parttype: XBOOTLDR }),
        root,
      ],
    }),
  );
  expect(findBootPartitions(devices, root["maj:min"])).toMatchObject({
    esps: [{ path: "/dev/sda1", mountPoints: ["/efi"] }],
    xbootldrs: [{ path: "/dev/sda2" }],
    readOnly: false,
  });
});

test("a mirrored root has the ESPs of both disks", () => {
  const devices = parse(half("sdc"), half("sdd"));
  const { esps } = findBootPartitions(devices, "9:0");
  expect(esps.map(({ path }) => path)).toEqual(["/dev/sdc1", "/dev/sdd1"]);
});

test("a disk that cannot be written to is read-only as a whole", () => {
  const disk = { ...half("sr0"), ro: true };
  expect(findBootPartitions(parse(disk), "9:0").readOnly).toBe(true);
});

test.each([
  ["0xef", "/dev/sda1"],
  ["0xEF", "/dev/sda1"],
  ["0x6", "/dev/sda1"],
  ["0x83", undefined],
])("MBR: a partition of type %s", (parttype, path) => {
  const root = device("sda2", "part", { parttype: "0x83" });
  const devices = parse(
    device("sda", "disk", { children: [device("sda1", "part", { parttype }), root] }),
  );
  expect(findBootPartitions(devices, root["maj:min"]).esps[0]?.path).toBe(path);
});

test("no disk at all, as in a container", () => {
  expect(findBootPartitions(parse(), "8:1")).toEqual({ esps: [], xbootldrs: [], readOnly: false });
});

test("what is not lsblk's is an error that names the place", () => {
  expect(() => parse({ path: "/dev/sda" })).toThrow(
    "lsblk: blockdevices[0].type: expected a string",
  );
  expect(() => parseLsblk(Buffer.from("[]"))).toThrow("lsblk: expected an object");
  let deep: object = device("x", "lvm");
  for (let i = 0; i < 40; i++) deep = device("x", "lvm", { children: [deep] });
  expect(() => parse(deep)).toThrow("more than 32 devices on top of each other");
});
