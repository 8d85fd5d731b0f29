/** The root file system of an image that is being built: a directory in which paths are looked up as if it were `/`. */
import { type ByteString, fromText, toBytes, toText } from "../../src/formats/bytestring.ts";
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOCTTY,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_PATH,
  O_RDONLY,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_XDEV,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
} from "../../src/linux/constants.ts";
import { readAll } from "../../src/linux/files.ts";
import { type Fd, isErrno, type Linux } from "../../src/linux/linux.ts";

export type FileType = "file" | "directory" | "symlink" | "other";

/** Paths are absolute. What is mounted in the directory is left out: a build has mounts that its image has not. */
export class Rootfs implements Disposable {
  /** The directory, as it was given. */
  readonly path: string;
  readonly #linux: Linux;
  readonly #root: Fd;

  constructor(linux: Linux, path: string) {
    this.path = path;
    this.#linux = linux;
    this.#root = linux.openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  }

  [Symbol.dispose](): void {
    this.#linux.close(this.#root);
  }

  /** What is there, without following it if it is a symlink; `undefined`: nothing. */
  typeOf(path: string): FileType | undefined {
    return this.#with(fromText(path), O_PATH | O_NOFOLLOW, (fd) => this.#typeOf(fd));
  }

  /** Whether a symlink or directory leads to a directory there, mounted or not. */
  isDirectory(path: string): boolean {
    return this.#with(fromText(path), O_PATH | O_DIRECTORY, () => true, 0) ?? false;
  }

  /** Size in bytes of what is there. */
  size(path: string): number | undefined {
    return this.#with(fromText(path), O_PATH, (fd) => {
      return this.#linux.statx(fd, "", AT_EMPTY_PATH).size;
    });
  }

  /** Names in a directory that are text, sorted; none if there is no such directory. */
  names(path: string): string[] {
    return this.entries(fromText(path))
      .flatMap((name) => toText(name) ?? [])
      .sort();
  }

  /** The same of all names. */
  entries(path: ByteString): ByteString[] {
    const flags = O_RDONLY | O_DIRECTORY;
    const entries = this.#with(path, flags, (fd) => this.#linux.readdir(fd));
    return entries?.map(({ name }) => name) ?? [];
  }

  /** A regular file of at most `limit` bytes; `undefined` if there is none. */
  read(path: string, limit: number): Uint8Array | undefined {
    // a FIFO must not block
    const flags = O_RDONLY | O_NONBLOCK | O_NOCTTY;
    return this.#with(fromText(path), flags, (fd) => {
      if (this.#typeOf(fd) !== "file") return undefined;
      try {
        return readAll(this.#linux, fd, limit);
      } catch (error) {
        throw new Error(path, { cause: error });
      }
    });
  }

  /** Where a file or directory is on this machine, for programs that open it themselves; `undefined` if there is none. */
  placeOf(path: string): string | undefined {
    return this.#with(fromText(path), O_PATH, (fd) => {
      const link = toBytes(fromText(`/proc/self/fd/${fd}`));
      return toText(this.#linux.readlinkat(AT_FDCWD, link));
    });
  }

  /** Tells a directory from others, by whatever path it is reached; `undefined` if there is none. */
  identity(path: string): string | undefined {
    return this.#with(fromText(path), O_PATH | O_DIRECTORY, (fd) => {
      const { devMajor, devMinor, ino } = this.#linux.statx(fd, "", AT_EMPTY_PATH);
      return `${devMajor}:${devMinor}:${ino}`;
    });
  }

  /** Calls `visit` with everything that is not mounted there, or below a directory of it, and the targets of symlinks. */
  walk(
    visit: (path: ByteString, target: ByteString | undefined, type: FileType) => void,
    from = "",
  ): void {
    if (from === "") this.#walk(this.#root, "" as ByteString, visit);
    else {
      const flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
      this.#with(fromText(from), flags, (fd) => this.#walk(fd, fromText(from), visit));
    }
  }

  #walk(parent: Fd, path: ByteString, visit: Parameters<Rootfs["walk"]>[0]): void {
    for (const { name } of this.#linux.readdir(parent)) {
      const inner = `${path}/${name}` as ByteString;
      const at = toBytes(name);
      this.#with(
        name,
        O_PATH | O_NOFOLLOW,
        (fd) => {
          const type = this.#typeOf(fd);
          visit(inner, type === "symlink" ? this.#linux.readlinkat(parent, at) : undefined, type);
          if (type !== "directory") return;
          const open = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
          this.#with(
            name,
            open,
            (directory) => this.#walk(directory, inner, visit),
            undefined,
            parent,
          );
        },
        undefined,
        parent,
      );
    }
  }

  #typeOf(fd: Fd): FileType {
    switch (this.#linux.statx(fd, "", AT_EMPTY_PATH).mode & S_IFMT) {
      case S_IFREG:
        return "file";
      case S_IFDIR:
        return "directory";
      case S_IFLNK:
        return "symlink";
      default:
        return "other";
    }
  }

  #with<T>(
    path: ByteString,
    flags: number,
    action: (fd: Fd) => T,
    resolve = RESOLVE_NO_XDEV,
    directory = this.#root,
  ): T | undefined {
    let fd: Fd;
    try {
      fd = this.#linux.openat2(directory, toBytes(path), {
        flags: flags | O_CLOEXEC,
        resolve: RESOLVE_IN_ROOT | resolve,
      });
    } catch (error) {
      if (isErrno(error, "ENOENT") || isErrno(error, "ENOTDIR")) return undefined;
      if (isErrno(error, "EXDEV") || isErrno(error, "ELOOP")) return undefined;
      throw error;
    }
    try {
      return action(fd);
    } finally {
      this.#linux.close(fd);
    }
  }
}
