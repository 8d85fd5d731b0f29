/** A `Linux` on a disk that some files cannot be read from. */
import { type Fd, type Linux, LinuxError } from "../../src/linux/linux.ts";

const EIO = 5;

/** Reading fails with EIO of files whose names are these, wherever they are; all else can be done to them. */
export const badSectors = (linux: Linux, ...names: readonly string[]) =>
  badSectorsAfter(linux, 0, ...names);

/** The same, but so many reads of each succeed. */
export function badSectorsAfter(linux: Linux, reads: number, ...names: readonly string[]): Linux {
  const bad = new Map<Fd, string>();
  const left = new Map<Fd, number>();
  const openat: Linux["openat"] = (dirfd, path, flags, mode) => {
    const fd = linux.openat(dirfd, path, flags, mode);
    const text = typeof path === "string" ? path : Buffer.from(path).toString();
    if (names.includes(text.split("/").at(-1)!)) bad.set(fd, text);
    else bad.delete(fd);
    left.set(fd, reads);
    return fd;
  };
  const read: Linux["read"] = (fd, buffer, position) => {
    const path = bad.get(fd);
    const good = left.get(fd) ?? 0;
    left.set(fd, good - 1);
    if (path === undefined || good > 0) return linux.read(fd, buffer, position);
    throw new LinuxError(EIO, "EIO", "Input/output error", "read", path);
  };
  return new Proxy(linux, {
    get(target, name: keyof Linux) {
      if (name === "openat") return openat;
      return name === "read" ? read : target[name].bind(target);
    },
  });
}
