import { newVerityDigester } from "../hash.ts";
import { linux } from "../linux.ts";
import type { Platform } from "./platform.ts";

const never = new Int32Array(new SharedArrayBuffer(4));

/** The platform of the running system. */
export const nodePlatform: Platform = {
  linux,
  digester: newVerityDigester,
  pause: () => {
    Atomics.wait(never, 0, 0, 1);
  },
};
