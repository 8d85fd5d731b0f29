/** The content of a file into another one. */
import { FICLONE } from "../../src/linux/constants.ts";
import { type Fd, isErrno, type Linux } from "../../src/linux/linux.ts";

const BUFFER = 1 << 18;

let buffer: Uint8Array | undefined;

/**
 * Makes the empty file `to` share the blocks of `from` (`FICLONE`). Says whether it does, or whether these two files
 * ("not-these"), or no two files of their file systems ("never"), can.
 */
export function cloneContent(linux: Linux, from: Fd, to: Fd): "cloned" | "not-these" | "never" {
  try {
    linux.ioctlValue(to, FICLONE, from);
    return "cloned";
  } catch (error) {
    if (isErrno(error, "EOPNOTSUPP", "EXDEV", "ENOTTY", "ENOSYS")) return "never";
    if (isErrno(error, "EINVAL", "EPERM", "ETXTBSY")) return "not-these"; // swap files, files without checksums
    throw error;
  }
}

/** Reads a file from its start. A piece is only good until `take` returns. Returns the number of bytes. */
export function readContent(linux: Linux, fd: Fd, take: (piece: Uint8Array) => void): number {
  buffer ??= new Uint8Array(BUFFER);
  for (let at = 0; ; ) {
    const count = linux.read(fd, buffer, at);
    if (count === 0) return at;
    take(buffer.subarray(0, count));
    at += count;
  }
}
