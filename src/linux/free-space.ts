/** Room on a file system. */
import type { Fd, Linux } from "./linux.ts";

/** What who is not privileged may still write on the file system of an open file or directory, in bytes. */
export function freeSpace(linux: Linux, fd: Fd): number {
  const { available, blockSize } = linux.fstatfs(fd);
  return available * blockSize;
}
