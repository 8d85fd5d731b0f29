/** What is on a disk, or in a file, that an installation would destroy. */
import { HintedError } from "../../src/linux/hint.ts";
import { runProgram } from "./programs.ts";

/** Names of the partition tables and file systems that are found at its beginning and end; empty if there is nothing known. */
export function findSignatures(path: string): string[] {
  const output = runProgram("wipefs", ["--no-act", "--parsable", "--output", "TYPE", path]);
  const lines = output.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return [...new Set(lines)];
}

/** Throws if there is something, unless `wipe` says that it may go. */
export function requireBlank(path: string, wipe: boolean): void {
  if (wipe) return;
  const found = findSignatures(path);
  if (found.length === 0) return;
  throw new HintedError(
    `${path} is not empty: it has ${found.join(", ")}`,
    "--wipe destroys all that is on it",
  );
}
