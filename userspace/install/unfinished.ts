/**
 * What an installation notes in the root that it fills, until it is done: the next one takes up what one that failed, or
 * was cut off, has left, instead of taking it for somebody's.
 */
import { fromBytes, fromText, toBytes, toText } from "../../src/formats/bytestring.ts";
import { ifThere, replaceFile, TEMPORARY } from "../../src/linux/directories.ts";
import { readFile } from "../../src/linux/files.ts";
import type { Fd, Linux } from "../../src/linux/linux.ts";
import { ALEPH } from "./aleph.ts";

export interface Unfinished {
  /** Whether the repository was made by it. */
  readonly repository: boolean;
  /** The ids of those that it wrote, or was about to. */
  readonly deployments: readonly string[];
}

const NOTE = ".cfsboot-unfinished";
const MAX_NOTE = 1 << 16;
const REPOSITORY = "repository";
const DEPLOYMENT = "deployment ";

/** What may be in a root in which there is such a note, or would have been. */
export const NOTE_FILES: readonly string[] = [NOTE, NOTE + TEMPORARY];

/** What an installation makes in a root. */
export const MADE: readonly string[] = [
  ...NOTE_FILES,
  ...["composefs", "state", "boot", ALEPH, ALEPH + TEMPORARY],
];

/** The note in a root; absent: nothing there is unfinished. */
export function readUnfinished(linux: Linux, root: Fd): Unfinished | undefined {
  const bytes = ifThere(() => readFile(linux, root, NOTE, MAX_NOTE));
  if (bytes === undefined) return undefined;
  const lines = (toText(fromBytes(bytes)) ?? "").split("\n");
  return {
    repository: lines.includes(REPOSITORY),
    deployments: lines
      .filter((line) => line.startsWith(DEPLOYMENT))
      .map((line) => line.slice(DEPLOYMENT.length)),
  };
}

/** Notes it, durably, before any of it is done. */
export function noteUnfinished(linux: Linux, root: Fd, noted: Unfinished): void {
  const lines = [
    ...(noted.repository ? [REPOSITORY] : []),
    ...noted.deployments.map((id) => DEPLOYMENT + id),
  ];
  const text = lines.map((line) => `${line}\n`).join("");
  replaceFile(linux, root, NOTE, toBytes(fromText(text)), 0o644);
}

/** All of it is done. */
export function noteFinished(linux: Linux, root: Fd): void {
  ifThere(() => linux.unlinkat(root, NOTE, 0));
  linux.fsync(root);
}
