/** The machine whose deployments are looked at or changed: open directories and what the kernel says, nothing else. */
import type { Fd, Linux } from "../../src/linux/linux.ts";
import type { Loader } from "../../src/model/loader.ts";
import type { BootPlace } from "../bootloader/boot-place.ts";

export type { Loader };

export interface Host {
  readonly linux: Linux;
  /** The physical root, writable where the disk is. */
  readonly sysroot: Fd;
  /** Its path, for messages. */
  readonly sysrootPath: string;
  /** What the boot loader reads; where there are several (one for each disk), all are kept alike, and the first counts. */
  readonly places: readonly [BootPlace, ...BootPlace[]];
  readonly loader: Loader;
  /** `/run/composefs`; absent where no system runs, as during an installation. */
  readonly run: Fd | undefined;
  /** What runs; absent where that is not one of the deployments. */
  readonly running: { readonly id: string; readonly insecure: boolean } | undefined;
  /** The command line of the kernel that runs, where that is known. */
  readonly cmdline?: string;
  /** Tells this boot from others (`/proc/sys/kernel/random/boot_id`). */
  readonly bootId: string;
}

/** State of all deployments, below the physical root. */
export const DEPLOY = "state/deploy";
/** The `/var` that all deployments share, below the physical root. */
export const SHARED_VAR = "state/os/default/var";
/** What is noted about updates, below the physical root. */
export const RECORDS = "state/cfsboot";
/** The record of what is staged, below `Host.run`. */
export const STAGED_RECORD = "staged-deployment";
