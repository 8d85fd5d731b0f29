/** What became of the last update, told in the boot that follows. */
import type { UpdateRecord } from "../formats/update-record.ts";
import type { Machine } from "./deployments.ts";

export interface UpdateTrouble {
  /** The deployment. */
  readonly id: string;
  /** For people, a sentence without a full stop. */
  readonly message: string;
  readonly hint: string;
}

/** What went wrong; `undefined` if nothing did, or nothing yet. `bootId` is that of this boot. */
export function updateTrouble(
  record: UpdateRecord | undefined,
  machine: Machine,
  bootId: string,
): UpdateTrouble | undefined {
  if (record === undefined) return undefined;
  const { id, outcome, error = "unknown error" } = record;
  // Once it is in the menu it is finalized: power may have been lost before that was noted.
  const deployment = machine.deployments.find((one) => one.id === id && one.slot !== "staged");
  const done = outcome === "finalized" || deployment !== undefined;
  const name = id.slice(0, 12);
  const again =
    "cfsboot upgrade, or switch if it was one, stages it again; journalctl -b -1 -u cfsboot-finalize-staged";
  if (!done && outcome === "failed") {
    return { id, message: `the update to ${name} could not be finalized: ${error}`, hint: again };
  }
  if (!done) {
    if (record.locked || record.stagedIn === bootId) return undefined;
    const message = `the update to ${name} was staged, but the machine went down before it was finalized`;
    return { id, message, hint: again };
  }
  if (deployment === undefined || deployment === machine.booted) return undefined;
  if (deployment.entry.tries?.left !== 0) return undefined;
  return {
    id,
    message: `the update to ${name} did not come up, tried ${deployment.entry.tries.done} times`,
    hint: `cfsboot delete ${name} removes it; journalctl --list-boots shows its boots`,
  };
}
