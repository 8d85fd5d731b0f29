/** The end of an installation: what was written is on the disk, in its own place, and what is free is told to the disk. */
import { type Fd, isErrno, type Linux } from "../../src/linux/linux.ts";

// linux/fs.h
const FITRIM = 0xc0185879;
const FIFREEZE = 0xc0045877;
const FITHAW = 0xc0045878;
/** `struct fstrim_range`: start, length, and the least length; all of it. */
const FSTRIM_RANGE = { size: 24, length: 8 };

/**
 * Trims a file system and freezes it for a moment, which empties its journal: boot loaders read without one. What a file
 * system cannot do is left out. `directory` is one of its directories, open for reading.
 */
export function finishFileSystem(linux: Linux, directory: Fd): void {
  linux.syncfs(directory);
  const range = new Uint8Array(FSTRIM_RANGE.size);
  new DataView(range.buffer).setBigUint64(FSTRIM_RANGE.length, 2n ** 64n - 1n, true);
  ifSupported(() => linux.ioctl(directory, FITRIM, range));
  ifSupported(() => {
    linux.ioctlValue(directory, FIFREEZE, 0);
    linux.ioctlValue(directory, FITHAW, 0);
  });
}

function ifSupported(act: () => void): void {
  try {
    act();
  } catch (error) {
    // EROFS, EPERM: a mount, or a namespace, in which this may not be done
    if (!isErrno(error, "EOPNOTSUPP", "ENOTTY", "EINVAL", "EROFS", "EPERM")) throw error;
  }
}
