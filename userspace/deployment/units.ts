/** The units that take part in updates. */
import { existsSync } from "node:fs";
import { startUnit } from "./reboot.ts";

const FINALIZE = "cfsboot-finalize-staged.service";
const BOOT_COMPLETE = "boot-complete.target";

/**
 * Makes systemd finalize what is staged when the machine shuts down; to be called before anything is. Where systemd does
 * not run it calls `warn` with what is to be done then.
 */
export function armFinalize(warn: (text: string) => void): void {
  if (!start(FINALIZE)) {
    warn("systemd does not run here: run cfsboot finalize-staged before the machine goes down");
  }
}

/** Waits until the machine has come up, by what its units ask for. Throws if it has not. */
export function requireBootComplete(): void {
  start(BOOT_COMPLETE);
}

/** False where systemd does not run, as sd_booted(3) finds it out. */
function start(unit: string): boolean {
  try {
    startUnit(unit);
    return true;
  } catch (error) {
    if (existsSync("/run/systemd/system")) throw error;
    return false;
  }
}
