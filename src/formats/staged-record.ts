/**
 * `/run/composefs/staged-deployment`: which deployment takes over at shutdown. bootc's file, canonical JSON without a
 * newline. Early releases had only the id in it; these are read, too.
 *
 *     {"depl_id":"<hex>","finalization_locked":false}
 */
import { hashOfHexLength } from "./digest.ts";
import { parseJson } from "./json-document.ts";

export interface StagedRecord {
  /** Of the deployment: 64 or 128 lower-case hex digits. */
  readonly id: string;
  /** It was only downloaded: nothing happens at shutdown until it is unlocked. */
  readonly locked: boolean;
}

const MAX_SIZE = 1 << 16;

/** Reads a record. Throws an error that names `file` and says what was expected. */
export function parseStagedRecord(bytes: Uint8Array, file: string): StagedRecord {
  const [first] = bytes;
  if (bytes.length <= 256 && first !== undefined && first !== 0x7b) {
    const text = String.fromCharCode(...bytes).trim();
    return { id: checkId(text, (why) => new Error(`${file}: ${why}`)), locked: false };
  }
  const json = parseJson(bytes, file, MAX_SIZE);
  const id = checkId(json.string("depl_id"), (why) => json.fail("depl_id", why));
  const locked = json.value.finalization_locked;
  if (typeof locked !== "boolean") json.fail("finalization_locked", "expected true or false");
  return { id, locked: locked as boolean };
}

/** The text of a record. */
export function formatStagedRecord({ id, locked }: StagedRecord): string {
  return JSON.stringify({ depl_id: id, finalization_locked: locked });
}

function checkId(text: string, fail: (why: string) => Error): string {
  if (!/^[0-9a-f]*$/.test(text) || hashOfHexLength(text.length) === undefined) {
    throw fail("expected a deployment's id, 64 or 128 hex digits");
  }
  return text;
}
