/** The flags of chattr(1). */
import type { Fd, Linux } from "./linux.ts";

const FS_IOC_GETFLAGS = 0x80086601;
const FS_IOC_SETFLAGS = 0x40086602;
/** The kernel reads and writes an `int`, whatever the numbers above say. */
const FLAGS_BYTES = 8;

/** `chattr +i`: nobody changes, renames or removes it. */
export const FS_IMMUTABLE_FL = 0x10;
/** `chattr +a`: it only grows. */
export const FS_APPEND_FL = 0x20;
/** The same two in `Statx.attributes`. */
export const STATX_ATTR_IMMUTABLE = 0x10n;
export const STATX_ATTR_APPEND = 0x20n;

/** Sets and clears flags of an open file or directory; needs `CAP_LINUX_IMMUTABLE` for those two. */
export function changeInodeFlags(
  linux: Linux,
  fd: Fd,
  { set = 0, clear = 0 }: { set?: number; clear?: number },
): void {
  const bytes = new Uint8Array(FLAGS_BYTES);
  const view = new DataView(bytes.buffer);
  linux.ioctl(fd, FS_IOC_GETFLAGS, bytes);
  const flags = view.getUint32(0, true);
  const changed = (flags & ~clear) | set;
  if (changed === flags) return;
  view.setUint32(0, changed, true);
  linux.ioctl(fd, FS_IOC_SETFLAGS, bytes);
}
