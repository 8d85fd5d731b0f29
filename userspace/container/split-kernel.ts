/** Takes the kernel out of the root file system of an image that is being built, for a unified kernel image. */
import {
  closeSync,
  constants,
  copyFileSync,
  fsyncSync,
  mkdirSync,
  openSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { join } from "node:path";
import { kernelsOf, MODULES } from "./kernels.ts";
import type { Rootfs } from "./rootfs.ts";
import { ukisOf } from "./ukis.ts";

/** What goes, the kernel last: while it is there, another run completes what was cut off. */
const FILES = [
  { name: "initramfs.img", required: true },
  { name: ".vmlinuz.hmac", required: false },
  { name: "vmlinuz", required: true },
] as const;

export interface SplitKernel {
  /** `uname -r`. */
  readonly release: string;
  /** Where its files are now. */
  readonly directory: string;
}

/**
 * Moves the kernel and its initramfs to a directory with the name of its release in `output`. Both may be on different file
 * systems. Order: copies, synced, under their names; then the files go. Throws where there is not one kernel with its initramfs.
 */
export function splitKernel(rootfs: Rootfs, output: string): SplitKernel {
  const [uki] = ukisOf(rootfs);
  if (uki !== undefined) {
    throw new Error(`${rootfs.path} has a unified kernel image: ${uki.path}`);
  }
  const releases = kernelsOf(rootfs);
  const [release] = releases;
  if (release === undefined) {
    throw new Error(`${rootfs.path} has no kernel: expected ${MODULES}/VERSION/vmlinuz`);
  }
  if (releases.length > 1) {
    throw new Error(`${rootfs.path} has more than one kernel: ${releases.join(", ")}`);
  }
  const source = rootfs.placeOf(`${MODULES}/${release}`)!;
  const directory = join(output, release);
  mkdirSync(directory, { recursive: true });
  if (realpathSync(directory) === source)
    throw new Error(`${directory}: the kernel is there already`);
  const moved = FILES.filter(({ name, required }) => {
    const place = rootfs.placeOf(`${MODULES}/${release}/${name}`);
    const target = join(directory, name);
    if (place !== undefined) copySynced(place, target);
    else if (required && statSync(target, { throwIfNoEntry: false }) === undefined) {
      throw new Error(`${MODULES}/${release}/${name} is missing`);
    }
    return place !== undefined;
  });
  sync(directory);
  sync(output);
  for (const { name } of moved) rmSync(join(source, name), { force: true });
  sync(source);
  return { release, directory };
}

/** There is the whole file under this name, or none. */
function copySynced(from: string, to: string): void {
  const temporary = `${to}.new`;
  copyFileSync(from, temporary, constants.COPYFILE_FICLONE);
  sync(temporary);
  renameSync(temporary, to);
}

function sync(path: string): void {
  const fd = openSync(path, constants.O_RDONLY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
