/**
 * The lock of a repository: `flock` on its directory. Whoever has it open holds it shared; garbage collection and what
 * else removes or changes objects holds it exclusively.
 */
import {
  LOCK_EX,
  LOCK_NB,
  LOCK_SH,
  O_CLOEXEC,
  O_DIRECTORY,
  O_RDONLY,
} from "../../src/linux/constants.ts";
import { type Fd, isErrno, type Linux } from "../../src/linux/linux.ts";
import { makeDirectory } from "./links.ts";

const STREAMS = "streams";

/** Takes the shared lock, which lasts until the descriptor is closed. `onWait` is called once if that must wait. */
export function lockShared(linux: Linux, root: Fd, onWait?: () => void): void {
  lock(linux, root, LOCK_SH, onWait);
}

/** Takes the exclusive lock, which lasts until the descriptor is closed. `onWait` is called once if that must wait. */
export function lockExclusive(linux: Linux, root: Fd, onWait?: () => void): void {
  lock(linux, root, LOCK_EX, onWait);
}

/**
 * Runs `action` with the exclusive lock, which the shared one is exchanged for and back. The exchange is not atomic: others
 * may come and go in between, so whatever was read before must be read again.
 */
export function withExclusiveLock<T>(
  linux: Linux,
  root: Fd,
  action: () => T,
  onWait?: () => void,
): T {
  lock(linux, root, LOCK_EX, onWait);
  try {
    return action();
  } finally {
    lock(linux, root, LOCK_SH);
  }
}

/**
 * Runs `action` with the lock of those who rewrite streams: `flock` on `streams/`, beside the shared lock of the repository.
 * Nobody else takes it, so readers and composefs-rs neither wait nor are kept waiting.
 */
export function withRewriteLock<T>(linux: Linux, root: Fd, action: () => T): T {
  makeDirectory(linux, root, STREAMS);
  const directory = linux.openat(root, STREAMS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  try {
    linux.flock(directory, LOCK_EX);
    return action();
  } finally {
    linux.close(directory); // and with it the lock goes
  }
}

function lock(linux: Linux, root: Fd, operation: number, onWait?: () => void): void {
  if (onWait !== undefined) {
    try {
      linux.flock(root, operation | LOCK_NB);
      return;
    } catch (error) {
      if (!isErrno(error, "EAGAIN", "EWOULDBLOCK")) throw error;
      onWait();
    }
  }
  linux.flock(root, operation);
}
