/** What stops an upgrade before anything is written that it would boot by. */
import { expect, test } from "vitest";
import type { Fd } from "../../src/linux/linux.ts";
import { kernelSizes } from "../../userspace/bootloader/kernels.ts";
import { finalize } from "../../userspace/deployment/finalize.ts";
import type { Host } from "../../userspace/deployment/host.ts";
import { requireRoom } from "../../userspace/deployment/room.ts";
import { bootImageOf } from "../../userspace/deployment/stage.ts";
import { planUpgrade, type StagingWish, stageUpgrade } from "../../userspace/deployment/upgrade.ts";
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

/** The boot partition is a file system of its own. */
function withBootElsewhere(host: Host): Host {
  const real = host.linux;
  const statx: typeof linux.statx = (fd, path, flags) => {
    const stat = real.statx(fd, path, flags);
    const devMinor = stat.devMinor + (fd === host.places[0].directory ? 1 : 0);
    return { ...stat, devMinor };
  };
  return { ...host, linux: { ...real, statx } };
}

/** As at shutdown. */
function finalizeNow(machine: TestMachine): void {
  machine.with((host, repository) => {
    const path = `state/deploy/${machine.running}/etc`;
    const etc = { dirfd: host.sysroot, path, name: "/etc" };
    finalize(host, repository, { etc, strategy: "fail" });
  });
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

test("a boot partition without room is noticed before anything is put there (dakota#1273, bootc#1808, bootc defect: room on the ESP)", async () => {
  const { machine, plan } = await fetched("x".repeat(3 << 20));
  using _ = machine;
  const before = machine.names("esp/EFI/Linux");
  expect(() => plan(2 << 20)).toThrow(
    /^not enough room on the boot partition .*esp: 7\.3 MB are needed, 2\.1 MB are free$/,
  );
  expect(machine.names("esp/EFI/Linux")).toEqual(before);
  expect(plan(64 << 20).id).toMatch(/^[0-9a-f]{64}$/);
});

test("a kernel that is there already needs no room", async () => {
  const { machine, plan } = await fetched("first");
  using _ = machine;
  expect(plan((1 << 20) + 1).options).toContain("composefs=?");
});

test("so is a disk without room for what is to be fetched (bootc#2040)", async () => {
  const { machine } = await fetched("first");
  using _ = machine;
  machine.with((host) => {
    const full = withBootElsewhere(withFree(host, 1000, (fd) => fd === host.sysroot));
    expect(() => requireRoom(full, { bytes: 1001 })).toThrow(
      "not enough room on the disk for the image: 1.0 kB are to be fetched, and take more when they are unpacked; 1.0 kB are free",
    );
    requireRoom(full, { bytes: 1000 });
  });
});

test("where /boot is on the same disk, there must be room for a kernel, too", async () => {
  const { machine } = await fetched("x".repeat(3 << 20));
  using _ = machine;
  machine.with((host, _repository, { booted }) => {
    const [kernel] = [...kernelSizes(linux, host.places[0]).values()];
    expect(booted?.damage).toEqual([]);
    const needed = 1000 + (1 << 20) + kernel!;
    const free = (bytes: number) => withFree(host, bytes, (fd) => fd === host.sysroot);
    requireRoom(free(needed), { bytes: 1000 });
    expect(() => requireRoom(free(needed - 1), { bytes: 1000 })).toThrow(
      "more when they are unpacked; 1.0 MB for its kernel and the boot menu; 1.1 MB are free",
    );
    // nothing is fetched: what is missing on the boot partition is told when that is known
    requireRoom(free(0), { bytes: 0 });
  });
});

test("for want of room the oldest that nobody pinned goes, before anything is written, and what one can go back to stays", async () => {
  using machine = new TestMachine();
  const kernel = (name: string) => name.repeat(1 << 20);
  const ids: string[] = [];
  for (const name of ["a", "b", "c"]) {
    ids.push(await machine.stage({ version: name, kernel: kernel(name) }, { keep: 3 }));
    if (name !== "a") finalizeNow(machine);
    machine.boot();
  }
  const manifest = await machine.pull({ version: "d", kernel: kernel("d") });
  const upgrade = (free: number, go: boolean) =>
    machine.with((host, repository, state) => {
      const full = withFree(host, free, (fd) => fd === host.places[0].directory);
      const etc = { dirfd: host.sysroot, path: `state/deploy/${ids[2]}/etc`, name: "/etc" };
      const image = openImage(repository, `@${manifest}`);
      const boot = bootImageOf(repository, image);
      const plan = planUpgrade(full, repository, state, image, boot, etc, { ...WISH, keep: 4 });
      if (go) stageUpgrade(host, repository, state, plan);
      return { id: plan.id, gone: plan.gone.map((one) => one.id) };
    });
  expect(upgrade(4 << 20, false).gone).toEqual([]);
  expect(() => upgrade((1 << 20) - 1, false)).toThrow("not enough room on the boot partition");
  const { id, gone } = upgrade(2 << 20, true);
  expect(gone).toEqual([ids[0]]);
  expect(machine.names("esp/EFI/Linux")).toEqual(
    [ids[1], ids[2], id].map((one) => `bootc_composefs-${one}`).sort(),
  );
  finalizeNow(machine);
  machine.with((_host, _repository, { deployments }) => {
    expect(deployments.map((one) => one.id)).toEqual([id, ids[2], ids[1]]);
  });
});
