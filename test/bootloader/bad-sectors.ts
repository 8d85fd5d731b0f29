/** A `Linux` on a disk that some files cannot be read from. */
import { type Fd, type Linux, LinuxError } from "../../src/linux/linux.ts";

const EIO = 5;

/** Reading fails with EIO of files whose names are these, wherever they are; all else can be done to them. */
export function badSectors(linux: Linux, ...names: readonly string[]): Linux {
  const bad = new Map<Fd, string>();
  const openat: Linux["openat"] = (dirfd, path, flags, mode) => {
    const fd = linux.openat(dirfd, path, flags, mode);
    const text = typeof path === "string" ? path : Buffer.from(path).toString();
    if (names.includes(text.split("/").at(-1)!)) bad.set(fd, text);
    else bad.delete(fd);
    return fd;
  };
  const read: Linux["read"] = (fd, buffer, position) => {
    const path = bad.get(fd);
    if (path === undefined) return linux.read(fd, buffer, position);
    throw new LinuxError(EIO, "EIO", "Input/output error", "read", path);
  };
  return new Proxy(linux, {
    get(target, name: keyof Linux) {
      if (name === "openat") return openat;
      return name === "read" ? read : target[name].bind(target);
    },
  });
}
