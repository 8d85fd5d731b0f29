/** Kernels in directories without the prefix, which early releases of bootc have written. */

import { withDirectory } from "../../src/linux/directories.ts";
import { freeSpace } from "../../src/linux/free-space.ts";
import type { Linux } from "../../src/linux/linux.ts";
import { MENU_SIZE } from "../../src/model/boot-room.ts";
import { artifactName } from "../../src/model/menu-entry.ts";
import type { BootPlace } from "./boot-place.ts";
import { KERNEL_FILES, kernelAt, listKernels, measureKernel, writeKernel } from "./kernels.ts";

/**
 * Makes sure that a place has the kernel under the name of today, by a copy: between two names of one directory entries would
 * lead nowhere. False if there is no room for that, or no such kernel.
 */
export function copyLegacyKernel(linux: Linux, place: BootPlace, artifact: string): boolean {
  const whole = new Set(
    listKernels(linux, place).flatMap(({ name, complete }) => (complete ? [name] : [])),
  );
  if (!whole.has(artifact)) return whole.has(artifactName(artifact));
  const source = kernelAt(linux, place, artifact);
  const { digest, sizes } = measureKernel(source);
  if (whole.has(artifactName(artifact))) {
    if (measureKernel(kernelAt(linux, place, artifactName(artifact))).digest === digest) {
      return true;
    }
  }
  const needed = sizes.vmlinuz + sizes.initrd + MENU_SIZE;
  if (needed > freeSpace(linux, place.directory)) return false;
  writeKernel(linux, place, artifact, source, digest);
  return true;
}

/** Whether a directory holds a kernel's files and nothing else. */
export function holdsOnlyKernel(linux: Linux, place: BootPlace, name: string): boolean {
  return withDirectory(linux, place.directory, `${place.kernels}/${name}`, (directory) =>
    linux.readdir(directory).every((entry) => KERNEL_FILES.some((file) => file === entry.name)),
  );
}
