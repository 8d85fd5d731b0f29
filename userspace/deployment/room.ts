/** Room on the disk and the boot partitions, looked at before anything is written there. */
import { AT_EMPTY_PATH, ST_RDONLY } from "../../src/linux/constants.ts";
import { freeSpace } from "../../src/linux/free-space.ts";
import { HintedError } from "../../src/linux/hint.ts";
import type { Fd, Linux } from "../../src/linux/linux.ts";
import { type BootRoom, freedKernels, MENU_SIZE, planRoom } from "../../src/model/boot-room.ts";
import type { Deployment, Machine } from "../../src/model/deployments.ts";
import { megabytes } from "../../src/model/size-text.ts";
import { kernelSizes, removeKernel } from "../bootloader/kernels.ts";
import { changeMenu } from "./change.ts";
import type { Host } from "./host.ts";
import type { StagePlan } from "./stage.ts";

interface NewKernel extends Pick<StagePlan, "artifact" | "missing"> {
  readonly kernel: Pick<StagePlan["kernel"], "size">;
}

/** The deployments that must go so that the boot partitions have room for a kernel, as `planRoom` decides. */
export function planBootRoom(
  { linux, sysroot, places }: Host,
  machine: Machine,
  { kernel, artifact, missing }: NewKernel,
): readonly Deployment[] {
  const rooms = places.map((place): BootRoom => {
    const kernels = kernelSizes(linux, place);
    // what no entry boots is removed before
    const left = machine.leftovers.artifacts.reduce(
      (sum, name) => sum + (kernels.get(name) ?? 0),
      0,
    );
    return {
      path: place.path,
      onRoot: isSameFileSystem(linux, sysroot, place.directory),
      free: freeSpace(linux, place.directory) + left,
      needed: MENU_SIZE + (missing.includes(place) ? kernel.size : 0),
      kernels,
    };
  });
  return planRoom(machine, artifact, rooms);
}

/**
 * Makes that room. What else belongs to them is left to the next collection of garbage.
 *
 * Order: the boot menu, without them; their kernels.
 */
export function makeBootRoom(
  host: Host,
  machine: Machine,
  gone: readonly Deployment[],
  { artifact }: NewKernel,
): void {
  if (gone.length === 0) return;
  const menu = machine.deployments
    .filter((one) => one !== machine.staged && !gone.includes(one))
    .map(({ id, entry }) => ({ id, entry }));
  changeMenu(host, machine, { menu, dropped: gone });
  const freed = freedKernels(machine, gone, artifact);
  for (const place of host.places) {
    for (const name of freed) removeKernel(host.linux, place, name);
  }
}

/**
 * Throws if there is not even room for the layers as they are transported, and, where `/boot` is on the same file system, for a
 * kernel as large as the ones that are there.
 */
export function requireRoom(host: Host, { bytes }: { readonly bytes: number }): void {
  const { linux, sysroot } = host;
  const free = freeSpace(linux, sysroot);
  const kernel = bytes === 0 ? 0 : kernelOnRoot(host);
  if (bytes + kernel <= free) return;
  const boot = kernel === 0 ? "" : ` ${megabytes(kernel)} for its kernel and the boot menu;`;
  throw new HintedError(
    `not enough room on the disk for the image: ${megabytes(bytes)} are to be fetched, and take more when they are unpacked;${boot} ${megabytes(free)} are free`,
    "cfsboot gc removes what no deployment needs, cfsboot delete a deployment with what only it needs",
  );
}

/** Throws if a boot partition cannot be written to, though this machine's disk can. */
export function requireWritableBoot({ linux, places }: Host): void {
  for (const { path, directory } of places) {
    if ((linux.fstatfs(directory).flags & ST_RDONLY) === 0) continue;
    throw new HintedError(
      `${path} cannot be written to: its file system is read-only`,
      "Linux makes a damaged FAT file system read-only: dmesg tells, fsck.vfat -a repairs it where it is not mounted",
    );
  }
}

/** What a new kernel will take where `/boot` is no file system of its own, in bytes; 0 where it is one. */
function kernelOnRoot({ linux, sysroot, places }: Host): number {
  const [place] = places;
  if (!isSameFileSystem(linux, sysroot, place.directory)) return 0;
  return MENU_SIZE + Math.max(0, ...kernelSizes(linux, place).values());
}

function isSameFileSystem(linux: Linux, one: Fd, other: Fd): boolean {
  const [a, b] = [one, other].map((fd) => linux.statx(fd, "", AT_EMPTY_PATH));
  return a!.devMajor === b!.devMajor && a!.devMinor === b!.devMinor;
}
