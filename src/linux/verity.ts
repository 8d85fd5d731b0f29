/**
 * fs-verity: the kernel's own digest of a file's content (Linux Documentation/filesystems/fsverity.rst). Blocks are
 * 4096 bytes, without salt and without signature: the only parameters that composefs uses.
 */
import { type HashName, VERITY_ALGORITHM } from "../formats/digest.ts";
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  FS_IOC_ENABLE_VERITY,
  FS_IOC_MEASURE_VERITY,
  O_CLOEXEC,
  O_RDONLY,
  O_RDWR,
  O_TMPFILE,
} from "./constants.ts";
import { writeAll } from "./files.ts";
import { type Fd, isErrno, type Linux } from "./linux.ts";

/** What the kernel says about a file's fs-verity digest. */
export type Measured =
  /** The file has fs-verity: every byte read from it is checked against this digest. */
  | { readonly state: "verity"; readonly digest: Uint8Array }
  /** The file system can do fs-verity, this file does not have it. */
  | { readonly state: "none" }
  /** The kernel or the file system cannot do fs-verity. */
  | { readonly state: "unsupported" }
  /** The file has fs-verity with another hash; `algorithm` is its `FS_VERITY_HASH_ALG_*`. */
  | { readonly state: "other-algorithm"; readonly algorithm: number };

/** What enabling fs-verity on a file came to. */
export type Enabled = "enabled" | "already" | "unsupported";

const MEASURE_HEADER = 4;
const MAX_DIGEST = 64;
const ENABLE_ARGUMENT = 128;
const BLOCK_SIZE = 4096;
const BUSY_ATTEMPTS = 3;
const COPY_BUFFER = 1 << 16;

/** Asks the kernel for the digest of an open file (`FS_IOC_MEASURE_VERITY`). Other errors than the four states throw. */
export function measureVerity(linux: Linux, fd: Fd, hash: HashName): Measured {
  // struct fsverity_digest: u16 algorithm, u16 size, then the digest. The buffer holds every algorithm's digest, so that
  // a file with another one is told apart from a file without fs-verity.
  const argument = new Uint8Array(MEASURE_HEADER + MAX_DIGEST);
  const view = new DataView(argument.buffer);
  view.setUint16(2, MAX_DIGEST, true);
  try {
    linux.ioctl(fd, FS_IOC_MEASURE_VERITY, argument);
  } catch (error) {
    if (isErrno(error, "ENODATA")) return { state: "none" };
    if (isErrno(error, "ENOTTY", "EOPNOTSUPP")) return { state: "unsupported" };
    throw error;
  }
  const algorithm = view.getUint16(0, true);
  if (algorithm !== VERITY_ALGORITHM[hash]) return { state: "other-algorithm", algorithm };
  const size = view.getUint16(2, true);
  return { state: "verity", digest: argument.slice(MEASURE_HEADER, MEASURE_HEADER + size) };
}

/** For messages: why a measurement is not a digest. */
export function describeMeasured(measured: Exclude<Measured, { state: "verity" }>): string {
  switch (measured.state) {
    case "none":
      return "it has no fs-verity";
    case "unsupported":
      return "the file system or the kernel has no fs-verity";
    case "other-algorithm":
      return `its fs-verity digest has another hash (algorithm ${measured.algorithm})`;
  }
}

/**
 * Enables fs-verity on a file (`FS_IOC_ENABLE_VERITY`). `fd` must be open for reading only. The kernel reads the whole
 * file, writes its hash tree to disk and makes the content immutable for good.
 *
 * A process that forked while the file was open for writing keeps it so until it executes another program, and the kernel
 * answers ETXTBSY: after a `pause` it is tried again, a few times; then that error is thrown.
 */
export function enableVerity(linux: Linux, fd: Fd, hash: HashName, pause: () => void): Enabled {
  // struct fsverity_enable_arg: u32 version, hash_algorithm, block_size, salt_size, ... all else zero.
  const argument = new Uint8Array(ENABLE_ARGUMENT);
  const view = new DataView(argument.buffer);
  view.setUint32(0, 1, true);
  view.setUint32(4, VERITY_ALGORITHM[hash], true);
  view.setUint32(8, BLOCK_SIZE, true);
  for (let attempt = 1; ; attempt++) {
    try {
      linux.ioctl(fd, FS_IOC_ENABLE_VERITY, argument);
      return "enabled";
    } catch (error) {
      if (isErrno(error, "EEXIST")) return "already";
      if (isErrno(error, "ENOTTY", "EOPNOTSUPP")) return "unsupported";
      if (!isErrno(error, "ETXTBSY") || attempt === BUSY_ATTEMPTS) throw error;
      pause();
    }
  }
}

/**
 * Enables fs-verity on a file that was just written, whose writer is closed. If somebody still has it open for writing, its
 * content is copied to a new unnamed file in `directory`, and so on until it works.
 *
 * Returns the file to use: `fd` itself, or the copy, and then `fd` is closed. If it throws, `fd` is still open.
 */
export function enableVerityOrCopy(
  linux: Linux,
  directory: Fd,
  fd: Fd,
  hash: HashName,
  pause: () => void,
): Fd {
  let current = fd;
  try {
    for (;;) {
      try {
        enableVerity(linux, current, hash, pause);
        if (current !== fd) linux.close(fd);
        return current;
      } catch (error) {
        if (!isErrno(error, "ETXTBSY")) throw error;
      }
      const copy = copyUnnamed(linux, directory, current);
      if (current !== fd) linux.close(current);
      current = copy;
    }
  } catch (error) {
    if (current !== fd) linux.close(current);
    throw error;
  }
}

/** Reopens an open file for reading only and closes the descriptor that could write. */
export function reopenReadOnly(linux: Linux, writer: Fd): Fd {
  try {
    return linux.openat(AT_FDCWD, `/proc/self/fd/${writer}`, O_RDONLY | O_CLOEXEC);
  } finally {
    linux.close(writer);
  }
}

function copyUnnamed(linux: Linux, directory: Fd, from: Fd): Fd {
  const mode = linux.statx(from, "", AT_EMPTY_PATH).mode & 0o777;
  const writer = linux.openat(directory, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
  try {
    const buffer = new Uint8Array(COPY_BUFFER);
    for (let at = 0; ; ) {
      const length = linux.read(from, buffer, at);
      if (length === 0) break;
      writeAll(linux, writer, buffer.subarray(0, length));
      at += length;
    }
  } catch (error) {
    linux.close(writer);
    throw error;
  }
  return reopenReadOnly(linux, writer);
}
