/** The addon `linux.node`, which the build puts beside the bundle: the system calls, and hashing for fs-verity. */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import type { NativeCalls } from "../src/linux/native.ts";

/** Hashing in native code; an algorithm is its `VERITY_ALGORITHM`. Results are values or `-errno`. */
export interface NativeHashing {
  /**
   * Hashes whole blocks of 4096 bytes, those of `first` and then those of `rest`, to `hashes`, one after the other.
   * `kernel` is the index of one (`verity_kernel`), or -1 for what is fastest on this processor.
   */
  verity_hash_blocks(
    algorithm: number,
    kernel: number,
    first: Uint8Array,
    rest: Uint8Array,
    hashes: Uint8Array,
  ): number;
  /** Fills in a kernel's name; `-EOPNOTSUPP` where the processor lacks it, `-ENOENT` after the last one. */
  verity_kernel(algorithm: number, index: number, name: Uint8Array): number;
}

/** Beside the bundle, or, where this file runs from the source tree, in the build's output. */
const PLACES = ["./linux.node", "../dist/linux.node"];

/** The addon; an error with a hint where it was not built. */
export function loadAddon(): NativeCalls & Partial<NativeHashing> {
  const paths = PLACES.map((place) => fileURLToPath(new URL(place, import.meta.url)));
  const path = paths.find((candidate) => existsSync(candidate));
  if (path === undefined) {
    throw Object.assign(new Error(`no linux.node: looked for ${paths.join(" and ")}`), {
      hint: "build it with: npm run build",
    });
  }
  try {
    return createRequire(import.meta.url)(path);
  } catch (cause) {
    throw new Error(`load ${path}`, { cause });
  }
}
