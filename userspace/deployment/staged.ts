/** The record of what is staged: below `/run`, so that it is gone with the boot that it was written in. */
import { fromText, toBytes } from "../../src/formats/bytestring.ts";
import { formatStagedRecord, type StagedRecord } from "../../src/formats/staged-record.ts";
import { removeTree, replaceFile } from "../../src/linux/directories.ts";
import { type Host, STAGED_RECORD } from "./host.ts";

const MODE = 0o644;

/** Writes the record; from then on the deployment is staged. */
export function writeStagedRecord(host: Host, record: StagedRecord): void {
  const run = required(host);
  replaceFile(host.linux, run, STAGED_RECORD, toBytes(fromText(formatStagedRecord(record))), MODE);
}

/** Removes the record; false if there is none. */
export function removeStagedRecord(host: Host): boolean {
  return host.run !== undefined && removeTree(host.linux, host.run, STAGED_RECORD);
}

function required({ run }: Host): number {
  if (run === undefined) throw new Error("nothing can be staged where no system runs");
  return run;
}
