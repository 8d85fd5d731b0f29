/** Files that a command line names: `-` is standard input. */
import { randomBytes } from "node:crypto";
import {
  closeSync,
  fsyncSync,
  openSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { UsageError } from "./errors.ts";

/** The name of an input for messages. */
export function inputName(path: string): string {
  return path === "-" ? "standard input" : path;
}

/** All bytes of an input. */
export async function readInput(path: string): Promise<Uint8Array> {
  if (path !== "-") return readFileSync(path);
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/**
 * Writes a file so that at any time there is either the old or the new one: a temporary file beside it, synced, renamed
 * over it. What exists and is not a regular file (a pipe, a device) is written to.
 */
export function writeOutput(path: string, bytes: Uint8Array): void {
  const existing = statSync(path, { throwIfNoEntry: false });
  if (existing !== undefined && !existing.isFile()) {
    writeFileSync(path, bytes);
    return;
  }
  const target = existing === undefined ? path : realpathSync(path);
  const temporary = join(
    dirname(target),
    `.${basename(target)}.${randomBytes(6).toString("hex")}.tmp`,
  );
  try {
    writeFileSync(temporary, bytes, { flag: "wx", flush: true });
    renameSync(temporary, target);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw new Error(`write ${path}`, { cause: error });
  }
  const directory = openSync(dirname(target), "r");
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}

/** Writes text to standard output in pieces of a size that suits pipes. */
export function printLines(lines: Iterable<string>): void {
  let pending = "";
  for (const line of lines) {
    pending += line;
    if (pending.length >= 1 << 16) {
      process.stdout.write(pending);
      pending = "";
    }
  }
  process.stdout.write(pending);
}

/** Runs `work`; its errors name what it is about. Errors of the system and of usage do so themselves. */
export async function within<T>(what: string, work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof UsageError) throw error;
    if (error instanceof Error && "syscall" in error && "path" in error) throw error;
    throw new Error(what, { cause: error });
  }
}
