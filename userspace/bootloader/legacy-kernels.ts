/** Kernels without the prefix in their names, which early releases of bootc have written. */
import { withDirectory } from "../../src/linux/directories.ts";
import { freeSpace } from "../../src/linux/free-space.ts";
import type { Linux } from "../../src/linux/linux.ts";
import { MENU_SIZE } from "../../src/model/boot-room.ts";
import { isUkiName, withPrefix } from "../../src/model/menu-entry.ts";
import type { BootPlace } from "./boot-place.ts";
import { KERNEL_FILES, kernelAt, listKernels, measureKernel, writeKernel } from "./kernels.ts";

/**
 * Makes sure that a place has the kernel under the name of today, by a copy: between two names of one directory entries would
 * lead nowhere. False if there is no room for that, or no such kernel.
 */
export function copyLegacyKernel(linux: Linux, place: BootPlace, old: string): boolean {
  const name = withPrefix(old);
  const kernels = listKernels(linux, place).filter(({ complete }) => complete);
  const there = kernels.some((kernel) => kernel.name === name);
  const from = kernels.find((kernel) => kernel.name === old);
  if (from === undefined) return there;
  const source = kernelAt(linux, place, old);
  const { digest, size } = measureKernel(source);
  if (there && measureKernel(kernelAt(linux, place, name)).digest === digest) return true;
  if (size + MENU_SIZE > freeSpace(linux, place.directory)) return false;
  writeKernel(linux, place, from.artifact, source, digest);
  return true;
}

/** Whether a kernel consists of its files and nothing else. */
export function holdsOnlyKernel(linux: Linux, place: BootPlace, name: string): boolean {
  if (isUkiName(name)) return true;
  return withDirectory(linux, place.directory, `${place.kernels}/${name}`, (directory) =>
    linux.readdir(directory).every((entry) => KERNEL_FILES.some((file) => file === entry.name)),
  );
}
