/** The system calls in Node: the addon `linux.node`, which the build puts beside the bundle. */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import type { Linux } from "../src/linux/linux.ts";
import type { NativeCalls } from "../src/linux/native.ts";
import { createLinux } from "../src/linux/syscalls.ts";

/** Beside the bundle, or, where this file runs from the source tree, in the build's output. */
const PLACES = ["./linux.node", "../dist/linux.node"];

function loadAddon(): NativeCalls {
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

export const linux: Linux = createLinux(loadAddon());
