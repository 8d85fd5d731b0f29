/** What stops an upgrade before anything is written that it would boot by. */
import { expect, test } from "vitest";
import type { Fd } from "../../src/linux/linux.ts";
import type { Host } from "../../userspace/deployment/host.ts";
import { bootImageOf } from "../../userspace/deployment/stage.ts";
import { planUpgrade, requireRoom, type StagingWish } from "../../userspace/deployment/upgrade.ts";
import { linux } from "../../userspace/linux.ts";
import { openImage } from "../../userspace/oci/image.ts";
import { TestMachine } from "./machine.ts";

const WISH: StagingWish = {
  reference: { transport: "registry", name: "example.org/os:13", signature: undefined },
  keep: 2,
  counted: true,
  locked: false,
  etcConflicts: { strategy: "fail", chosen: false },
};

/** So many bytes are free on what a descriptor is on. */
function withFree(host: Host, bytes: number, on: (fd: Fd) => boolean): Host {
  const fstatfs: typeof linux.fstatfs = (fd) => {
    const real = linux.fstatfs(fd);
    return on(fd) ? { ...real, blockSize: 1, available: bytes } : real;
  };
  return { ...host, linux: { ...linux, fstatfs } };
}

/** A machine that runs one image and has fetched another. */
async function fetched(kernel: string) {
  const machine = new TestMachine();
  await machine.stage({ version: "1", kernel: "first" }, { counted: false });
  machine.boot();
  const manifest = await machine.pull({ version: "2", kernel });
  const plan = (free: number) =>
    machine.with((host, repository, state) => {
      const full = withFree(host, free, (fd) => fd === host.places[0].directory);
      const etc = {
        dirfd: host.sysroot,
        path: `state/deploy/${machine.running}/etc`,
        name: "/etc",
      };
      const image = openImage(repository, `@${manifest}`);
      const boot = bootImageOf(repository, image);
      return planUpgrade(full, repository, state, image, boot, etc, WISH);
    });
  return { machine, plan };
}

test("a boot partition without room is noticed before anything is put there (dakota issue 1273)", async () => {
  const { machine, plan } = await fetched("x".repeat(3 << 20));
  using _ = machine;
  const before = machine.names("esp/EFI/Linux");
  expect(() => plan(2 << 20)).toThrow(
    /^not enough room on .*esp: \d+ bytes are needed, 2097152 are free$/,
  );
  expect(machine.names("esp/EFI/Linux")).toEqual(before);
  expect(plan(64 << 20).id).toMatch(/^[0-9a-f]{64}$/);
});

test("a kernel that is there already needs no room", async () => {
  const { machine, plan } = await fetched("first");
  using _ = machine;
  expect(plan((1 << 20) + 1).options).toContain("composefs=?");
});

test("so is a disk without room for what is to be fetched", async () => {
  const { machine } = await fetched("first");
  using _ = machine;
  machine.with((host) => {
    const full = withFree(host, 1000, (fd) => fd === host.sysroot);
    expect(() => requireRoom(full, { layers: 1, all: 1, bytes: 1001 })).toThrow(
      "1001 bytes are to be",
    );
    requireRoom(full, { layers: 1, all: 1, bytes: 1000 });
  });
});
