/**
 * The record of the last update, in JSON below the physical root (`state/cfsboot/last-update.json`): what was staged in
 * which boot, and what became of it at shutdown. It outlives the boot, so that the next one can tell what went wrong.
 *
 *     {"id": "…", "staged_in": "<boot id>", "locked": false, "outcome": "failed", "error": "…"}
 */
import { hashOfHexLength } from "./digest.ts";
import { type JsonObject, parseJson } from "./json-document.ts";

/** "staged": the machine was not shut down since, or not as it should be. */
export const OUTCOMES = ["staged", "finalized", "failed"] as const;
export type UpdateOutcome = (typeof OUTCOMES)[number];

export interface UpdateRecord {
  /** Of the deployment. */
  readonly id: string;
  /** `/proc/sys/kernel/random/boot_id` when it was staged. */
  readonly stagedIn: string;
  /** It was only downloaded. */
  readonly locked: boolean;
  readonly outcome: UpdateOutcome;
  /** Why it failed. */
  readonly error: string | undefined;
}

const LIMIT = 1 << 20;

/** Reads a record. Throws an error that names `file` and the field. */
export function parseUpdateRecord(bytes: Uint8Array, file: string): UpdateRecord {
  const json = parseJson(bytes, file, LIMIT);
  const id = json.string("id");
  if (!/^[0-9a-f]+$/.test(id) || hashOfHexLength(id.length) === undefined) {
    json.fail("id", "expected 64 or 128 hex digits");
  }
  return {
    id,
    stagedIn: json.string("staged_in"),
    locked: json.value.locked === true,
    outcome: outcomeOf(json),
    error: json.optionalString("error"),
  };
}

function outcomeOf(json: JsonObject): UpdateOutcome {
  const text = json.string("outcome");
  const outcome = OUTCOMES.find((one) => one === text);
  return outcome ?? json.fail("outcome", `expected one of ${OUTCOMES.join(", ")}`);
}

/** The text of the file. */
export function formatUpdateRecord({ id, stagedIn, locked, outcome, error }: UpdateRecord): string {
  const fields = {
    id,
    staged_in: stagedIn,
    locked,
    outcome,
    ...(error === undefined ? {} : { error }),
  };
  return `${JSON.stringify(fields)}\n`;
}
