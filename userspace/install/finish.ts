/** The end of an installation: what was written is on the disk, in its own place, and what is free is told to the disk. */
import { emptyJournal } from "../../src/linux/journal.ts";
import { type Fd, isErrno, type Linux } from "../../src/linux/linux.ts";

// linux/fs.h
const FITRIM = 0xc0185879;
/** `struct fstrim_range`: start, length, and the least length; all of it. */
const FSTRIM_RANGE = { size: 24, length: 8 };

/**
 * Trims a file system and empties its journal. What a file system cannot do is left out. `directory` is one of its
 * directories, open for reading.
 */
export function finishFileSystem(linux: Linux, directory: Fd): void {
  linux.syncfs(directory);
  const range = new Uint8Array(FSTRIM_RANGE.size);
  new DataView(range.buffer).setBigUint64(FSTRIM_RANGE.length, 2n ** 64n - 1n, true);
  ifSupported(() => linux.ioctl(directory, FITRIM, range));
  emptyJournal(linux, directory);
}

function ifSupported(act: () => void): void {
  try {
    act();
  } catch (error) {
    // EROFS, EPERM: a mount, or a namespace, in which this may not be done
    if (!isErrno(error, "EOPNOTSUPP", "ENOTTY", "EINVAL", "EROFS", "EPERM")) throw error;
  }
}
