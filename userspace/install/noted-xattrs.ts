/**
 * Extended attributes of files that become a file system in an image of a disk. Only root may set those of `security.`, and
 * not even root where the file system that they are on meanwhile has none. So they are noted, and set in the image.
 */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import {
  ascii,
  type ByteString,
  display,
  fromBytes,
  fromText,
  toBytes,
} from "../../src/formats/bytestring.ts";
import { AT_FDCWD, AT_SYMLINK_NOFOLLOW, DT_DIR } from "../../src/linux/constants.ts";
import { openDirectory, withDirectory } from "../../src/linux/directories.ts";
import { displayPath, type Fd, type Linux, LinuxError, type Path } from "../../src/linux/linux.ts";
import { runProgram } from "./programs.ts";

const ENODATA = 61;
/** ACLs can be set by everybody, and mke2fs copies them. */
const ACLS = "system.";

type Attributes = Map<ByteString, Uint8Array>;

export class NotedXattrs {
  /** As the one that it was made from, but what is set is noted, and read from there. */
  readonly linux: Linux;
  readonly #real: Linux;
  /** By device and inode. */
  readonly #noted = new Map<string, Attributes>();

  constructor(real: Linux) {
    this.#real = real;
    this.linux = {
      ...real,
      lsetxattr: (path, name, value, flags) => {
        const key = fromBytes(bytesOf(name));
        if (key.startsWith(ACLS)) real.lsetxattr(path, name, value, flags);
        else this.#attributes(path).set(key, Uint8Array.from(value));
      },
      lgetxattr: (path, name) => {
        const key = fromBytes(bytesOf(name));
        if (key.startsWith(ACLS)) return real.lgetxattr(path, name);
        const value = this.#attributes(path).get(key);
        if (value !== undefined) return value;
        throw new LinuxError(
          ENODATA,
          "ENODATA",
          "No data available",
          "getxattr",
          displayPath(path),
        );
      },
      llistxattr: (path) => [
        ...real.llistxattr(path).filter((name) => name.startsWith(ACLS)),
        ...this.#attributes(path).keys(),
      ],
    };
  }

  #attributes(path: Path): Attributes {
    const key = this.#keyOf(AT_FDCWD, path);
    const known = this.#noted.get(key) ?? new Map();
    this.#noted.set(key, known);
    return known;
  }

  #keyOf(dirfd: Fd, path: Path): string {
    const { devMajor, devMinor, ino } = this.#real.statx(dirfd, path, AT_SYMLINK_NOFOLLOW);
    return `${devMajor}:${devMinor}:${ino}`;
  }

  /**
   * Sets them in a file system that was filled from `directory`. It is an ext4 in `image`, and begins at `start` bytes.
   * Values go through files in `work`, a directory that must not exist.
   */
  write(directory: string, image: string, start: number, work: string): void {
    const values = new Map<ByteString, string>();
    const requests: string[] = [];
    mkdirSync(work);
    try {
      for (const { path, attributes } of this.#found(directory)) {
        for (const [name, value] of attributes) {
          const key = fromBytes(value);
          const file = values.get(key) ?? join(work, `${values.size}`);
          if (!values.has(key)) writeFileSync(file, value);
          values.set(key, file);
          const [from, to] = [quoted(fromText(file)), quoted(path)];
          requests.push(`ea_set -f ${from} ${to} ${quoted(name)}\n`);
        }
      }
      if (requests.length > 0) setAll(image, start, requests, join(work, "requests"));
    } finally {
      rmSync(work, { recursive: true });
    }
  }

  /** Each inode once. */
  *#found(directory: string): Generator<{ path: string; attributes: Attributes }> {
    const left = new Map(this.#noted);
    const take = (dirfd: Fd, name: ByteString) => {
      const key = this.#keyOf(dirfd, toBytes(name));
      const attributes = left.get(key);
      left.delete(key);
      return attributes;
    };
    const linux = this.#real;
    const walk = (fd: Fd, path: string): { path: string; attributes: Attributes }[] =>
      linux.readdir(fd).flatMap(({ name, type }) => {
        const inner = `${path}/${name}`;
        const attributes = take(fd, name);
        const own = attributes === undefined ? [] : [{ path: inner, attributes }];
        if (type !== DT_DIR) return own;
        return [...own, ...withDirectory(linux, fd, toBytes(name), (next) => walk(next, inner))];
      });
    const root = openDirectory(linux, AT_FDCWD, directory);
    try {
      const attributes = take(root, ascii("."));
      if (attributes !== undefined) yield { path: "/", attributes };
      yield* walk(root, "");
    } finally {
      linux.close(root);
    }
  }
}

function bytesOf(path: Path): Uint8Array {
  return typeof path === "string" ? Buffer.from(path) : path;
}

/** As debugfs reads it: bytes, one a character. */
function quoted(text: string): string {
  if (text.includes("\n")) {
    throw new Error(
      `${display(text as ByteString)}: its extended attributes cannot be set, as there is a line break in its name`,
    );
  }
  return `"${text.replaceAll('"', '""')}"`;
}

function setAll(image: string, start: number, requests: readonly string[], file: string): void {
  writeFileSync(file, requests.join(""), "latin1");
  // of a path it would take what follows a question mark for the offset
  const args = ["-w", "-f", file, `${basename(image)}?offset=${start}`];
  const output = runProgram("debugfs", args, { withErrors: true, cwd: dirname(image) });
  // it exits with 0 whatever happens, echoes each request, and tells below it what went wrong
  const failure = output.split("\n").find((line) => line !== "" && !line.startsWith("debugfs"));
  if (failure !== undefined) throw new Error(`debugfs: ${failure}`);
}
