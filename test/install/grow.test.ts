/** Where the root is, as the kernel tells it, and what it may grow into. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { findRootPartition, isVolumeBehind } from "../../userspace/install/grow.ts";

const SECTORS_OF_GIB = 2 ** 21;
const GIB = 2 ** 30;

let sys: string;
beforeEach(() => {
  sys = mkdtempSync(join(tmpdir(), "cfsboot-sys-"));
});
afterEach(() => rmSync(sys, { recursive: true }));

/** A device with these attributes, in sectors; below another one it is a partition of it. */
function device(path: string, attributes: Record<string, number>): void {
  const real = join(sys, "devices", path);
  mkdirSync(real, { recursive: true });
  for (const [name, value] of Object.entries(attributes)) {
    mkdirSync(dirname(join(real, name)), { recursive: true });
    writeFileSync(join(real, name), `${value}\n`);
  }
  symlinkSync(real, join(sys, path.split("/").at(-1)!));
}

function disk(size: number): void {
  device("vda", { size });
  device("vda/vda1", { partition: 1, start: 2048, size: SECTORS_OF_GIB });
  device("vda/vda2", { partition: 2, start: 2048 + SECTORS_OF_GIB, size: 2 * SECTORS_OF_GIB });
}

test("the last partition may take what is behind it", () => {
  disk(8 * SECTORS_OF_GIB);
  expect(findRootPartition("/dev/vda2", sys)).toEqual({
    ...{ disk: "/dev/vda", number: 2, size: 2 * GIB, volume: undefined },
    free: 5 * GIB - 2048 * 512,
  });
});

test("a partition before another one may not", () => {
  disk(8 * SECTORS_OF_GIB);
  expect(findRootPartition("/dev/vda1", sys)).toMatchObject({ number: 1, free: 0 });
});

test("an encrypted volume is in its partition, and gets what that has when it is opened", () => {
  disk(8 * SECTORS_OF_GIB);
  const volume = 2 * SECTORS_OF_GIB - 32768;
  device("dm-0", { size: volume, "dm/suspended": 0, "slaves/vda2/size": 0 });
  const found = findRootPartition("/dev/dm-0", sys)!;
  expect(found).toMatchObject({ disk: "/dev/vda", number: 2, volume: volume * 512 });
  expect(isVolumeBehind(found)).toBe(false);
  expect(isVolumeBehind({ ...found, size: 4 * GIB })).toBe(true);
});

test("a whole disk, and a volume on several, are left alone", () => {
  disk(8 * SECTORS_OF_GIB);
  device("dm-1", { size: 1, "dm/suspended": 0, "slaves/vda1/size": 0, "slaves/vda2/size": 0 });
  expect(findRootPartition("/dev/vda", sys)).toBeUndefined();
  expect(findRootPartition("/dev/dm-1", sys)).toBeUndefined();
});
