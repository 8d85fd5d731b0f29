/** The system calls in Node. */
import type { Linux } from "../src/linux/linux.ts";
import { createLinux } from "../src/linux/syscalls.ts";
import { loadAddon } from "./addon.ts";

export const linux: Linux = createLinux(loadAddon());
