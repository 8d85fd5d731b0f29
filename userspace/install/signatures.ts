/** What is on a disk, or in a file, that an installation would destroy. */
import { closeSync, openSync, readSync } from "node:fs";
import { HintedError } from "../../src/linux/hint.ts";
import { PARTITION_NAMES } from "../../src/model/disk-layout.ts";
import { runProgram } from "./programs.ts";

const BEGINNING = 1 << 20;

/** Names of the partition tables and file systems that are found at its beginning and end; empty if there is nothing known. */
export function findSignatures(path: string): string[] {
  const output = runProgram("wipefs", ["--no-act", "--parsable", "--output", "TYPE", path]);
  const lines = output.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return [...new Set(lines)];
}

/**
 * Removes signatures that an installation which has failed has made, so that the next one finds what it has found: nothing.
 * As far as that can be done, as there is an error already.
 */
export function eraseSignatures(paths: readonly string[]): void {
  try {
    // a table in a file is only erased by force
    for (const path of paths) runProgram("wipefs", ["--all", "--force", "--quiet", path]);
  } catch {
    // then the next one says that it needs --wipe
  }
}

/** Throws if there is something. A `file` may also have what has no signature: whoever names one could have meant another. */
export function requireBlank(path: string, file: boolean): void {
  const found = findSignatures(path);
  if (found.length > 0) {
    throw new HintedError(
      `${path} is not empty: it has ${found.join(", ")}`,
      isDividedByUs(path)
        ? "--wipe destroys all that is on it: a system that cfsboot installed, or what an installation that was cut off has left"
        : "--wipe destroys all that is on it",
    );
  }
  if (!file || !hasData(path)) return;
  throw new HintedError(
    `${path} is not empty: it is a file with something else than a disk in it`,
    "--wipe destroys it",
  );
}

/** Whether there is more than zeros where files have their beginning. */
function hasData(path: string): boolean {
  const fd = openSync(path, "r");
  try {
    const beginning = Buffer.alloc(BEGINNING);
    return beginning.subarray(0, readSync(fd, beginning)).some((byte) => byte !== 0);
  } finally {
    closeSync(fd);
  }
}

/** By the names of the partitions. They do not tell whether the installation came to its end. */
function isDividedByUs(path: string): boolean {
  try {
    const { partitiontable } = JSON.parse(runProgram("sfdisk", ["--json", path]));
    const names: unknown[] = partitiontable.partitions.map(({ name }: { name?: string }) => name);
    return names.includes(PARTITION_NAMES.root) && names.includes(PARTITION_NAMES.esp);
  } catch {
    return false; // it is only for a hint
  }
}
