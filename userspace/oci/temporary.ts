/** Large temporary files and directories, which go where `/tmp` in memory would be too small. */
import { closeSync, lstatSync, mkdtempSync, openSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { LOCK_EX, LOCK_NB } from "../../src/linux/constants.ts";
import { isErrno } from "../../src/linux/linux.ts";
import { linux } from "../linux.ts";

const PREFIX = "cfsboot-";
/** A younger one may be about to be locked, in milliseconds. */
const STALE_AGE = 60_000;
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

export function largeTemporaryDirectory(env: NodeJS.ProcessEnv = process.env): string {
  return env.TMPDIR || "/var/tmp";
}

export interface TemporaryOptions {
  /** The directory that it is made in. */
  readonly parent?: string;
  /** How its name begins. */
  readonly prefix?: string;
  /** Whether signals are left to somebody else, who closes it then. */
  readonly ignoreSignals?: boolean;
}

/**
 * A directory for this user alone, which goes away when it is closed, or when the process ends. One that a killed
 * process has left is removed by the next.
 */
export class TemporaryDirectory {
  readonly path: string;
  readonly #closing = new AbortController();
  /** Locked as long as the directory is in use. */
  readonly #lock: number;
  readonly #onExit = () => this.close();
  readonly #onSignal = (signal: NodeJS.Signals) => {
    this.close();
    process.kill(process.pid, signal);
  };

  constructor({
    parent = largeTemporaryDirectory(),
    prefix = PREFIX,
    ignoreSignals = false,
  }: TemporaryOptions = {}) {
    removeStale(parent, prefix);
    this.path = mkdtempSync(join(parent, prefix));
    this.#lock = openSync(this.path, "r");
    linux.flock(this.#lock, LOCK_EX);
    process.on("exit", this.#onExit);
    if (ignoreSignals) return;
    for (const signal of SIGNALS) process.on(signal, this.#onSignal);
  }

  /** Aborted when the directory goes away: for programs that write into it. */
  get closing(): AbortSignal {
    return this.#closing.signal;
  }

  /** A second time nothing happens: a signal may have been first. */
  close(): void {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort();
    process.off("exit", this.#onExit);
    for (const signal of SIGNALS) process.off(signal, this.#onSignal);
    rmSync(this.path, { recursive: true, force: true });
    closeSync(this.#lock);
  }
}

/** Removes the directories that nobody uses any more. Others' are none of our business. */
function removeStale(parent: string, prefix: string): void {
  for (const name of readdirSync(parent)) {
    if (!name.startsWith(prefix)) continue;
    const path = join(parent, name);
    const stat = lstatSync(path, { throwIfNoEntry: false });
    if (!stat?.isDirectory() || stat.uid !== process.geteuid?.()) continue;
    if ((stat.mode & 0o077) === 0 && stat.mtimeMs < Date.now() - STALE_AGE) removeUnlocked(path);
  }
}

function removeUnlocked(path: string): void {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch {
    return; // somebody else was faster
  }
  try {
    linux.flock(fd, LOCK_EX | LOCK_NB);
    rmSync(path, { recursive: true, force: true });
  } catch (error) {
    if (!isErrno(error, "EAGAIN", "EWOULDBLOCK")) throw error;
  } finally {
    closeSync(fd);
  }
}
