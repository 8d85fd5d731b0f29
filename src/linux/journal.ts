/** Journals of file systems that a boot loader reads. */
import { type Fd, isErrno, type Linux } from "./linux.ts";

// linux/fs.h
const FIFREEZE = 0xc0045877;
const FITHAW = 0xc0045878;

/**
 * Freezes a file system for a moment, so that all that was written is in its own place and nothing in the journal alone: boot
 * loaders (GRUB, drivers of the firmware) read ext4, XFS and btrfs without replaying it. False where that is not possible:
 * on a file system that cannot be frozen (FAT has no journal), or in a mount or a namespace where that may not be done.
 * `directory` is one of its directories, open for reading.
 */
export function emptyJournal(linux: Linux, directory: Fd): boolean {
  try {
    linux.ioctlValue(directory, FIFREEZE, 0);
  } catch (error) {
    // EBUSY: somebody else has frozen it
    if (isErrno(error, "EOPNOTSUPP", "ENOTTY", "EINVAL", "EROFS", "EPERM", "EBUSY")) return false;
    throw error;
  }
  linux.ioctlValue(directory, FITHAW, 0);
  return true;
}
