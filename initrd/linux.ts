/// <reference path="./native.d.ts" />
/** The system calls in QuickJS: the module that is compiled into the executable. */
import * as calls from "cfsboot:linux";
import type { Linux } from "../src/linux/linux.ts";
import { createLinux } from "../src/linux/syscalls.ts";

export const linux: Linux = createLinux(calls);
