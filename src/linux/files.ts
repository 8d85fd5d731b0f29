/** Whole files by system calls. */
import { AT_EMPTY_PATH, O_CLOEXEC, O_RDONLY } from "./constants.ts";
import { displayPath, type Fd, type Linux, LinuxError, type Path } from "./linux.ts";

const CHUNK = 0x10000;

/** Writes all of `data`, at the file position or from `position` on. */
export function writeAll(linux: Linux, fd: Fd, data: Uint8Array, position?: number): void {
  for (let done = 0; done < data.length; ) {
    done += linux.write(
      fd,
      done === 0 ? data : data.subarray(done),
      position === undefined ? undefined : position + done,
    );
  }
}

/** The same of a file that was opened by this name: errors have it, as they have that of what could not be opened. */
export function writeNamed(linux: Linux, fd: Fd, name: Path, data: Uint8Array): void {
  try {
    writeAll(linux, fd, data);
  } catch (error) {
    throw error instanceof LinuxError ? named(error, name) : error;
  }
}

function named({ errno, code, description, syscall }: LinuxError, name: Path): LinuxError {
  return new LinuxError(errno, code, description, syscall, displayPath(name));
}

/**
 * Reads from the file position to the end. More than `limit` bytes is an error (`/proc` and pipes tell no size
 * beforehand, and a repository's files are somebody else's).
 */
export function readAll(linux: Linux, fd: Fd, limit: number): Uint8Array {
  const expected = Math.min(linux.statx(fd, "", AT_EMPTY_PATH).size, limit);
  let buffer = new Uint8Array(expected > 0 ? expected + 1 : Math.min(CHUNK, limit + 1));
  for (let length = 0; ; ) {
    const count = linux.read(fd, buffer.subarray(length));
    if (count === 0) return buffer.subarray(0, length);
    length += count;
    if (length > limit) throw new Error(`larger than ${limit} bytes`);
    if (length === buffer.length) {
      const larger = new Uint8Array(Math.min(length * 2, limit + 1));
      larger.set(buffer);
      buffer = larger;
    }
  }
}

/** The content of a file of at most `limit` bytes. Errors name the path. */
export function readFile(linux: Linux, dirfd: Fd, path: Path, limit: number): Uint8Array {
  const fd = linux.openat(dirfd, path, O_RDONLY | O_CLOEXEC);
  try {
    return readAll(linux, fd, limit);
  } catch (error) {
    if (error instanceof LinuxError) throw named(error, path);
    throw new Error(`${displayPath(path)}: ${(error as Error).message}`);
  } finally {
    linux.close(fd);
  }
}
