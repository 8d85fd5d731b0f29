/**
 * How files get onto a boot partition: under another name, read back, and only then under their own. After a power failure there
 * is what was there, or what is new, whole; or something that the names tell to be left over.
 */
import { createHash } from "node:crypto";
import { O_CLOEXEC, O_NOFOLLOW, O_RDONLY, RENAME_EXCHANGE } from "../../src/linux/constants.ts";
import { createFile, exists, removeTree, withDirectory } from "../../src/linux/directories.ts";
import type { Fd, Linux } from "../../src/linux/linux.ts";
import { DIRECTORY_MODE, FILE_MODE } from "./boot-place.ts";
import { makeName } from "./directory-room.ts";
import { discard, settleNames } from "./discard.ts";
import { temporaryName, temporaryNames } from "./temporary-names.ts";

/** Bytes of a file, each time anew from the start. */
export type Content = () => Iterable<Uint8Array>;
/** A file, or a directory of files. */
export type Item = Content | ReadonlyMap<string, Content>;

const CHUNK = 1 << 20;

/** SHA-256, in hex, of the content of one file after the other, and how many bytes that is. */
export function measure(contents: Iterable<Content>): { digest: string; size: number } {
  const hash = createHash("sha256");
  let size = 0;
  for (const content of contents) {
    for (const chunk of content()) {
      hash.update(chunk);
      size += chunk.length;
    }
  }
  return { digest: hash.digest("hex"), size };
}

/** The content of a file. */
export function contentAt(linux: Linux, directory: Fd, path: string): Content {
  return function* () {
    const fd = linux.openat(directory, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    try {
      const buffer = new Uint8Array(CHUNK);
      for (let n = linux.read(fd, buffer); n > 0; n = linux.read(fd, buffer)) {
        yield buffer.subarray(0, n);
      }
    } finally {
      linux.close(fd);
    }
  };
}

/**
 * Gives a name to an item that is written for it, durably, instead of what has it. `digest` is what `measure` says of the
 * content in its order: what is read back must have it, or it is an error and the old one stays.
 */
export function putInPlace(
  linux: Linux,
  parent: Fd,
  name: string,
  item: Item,
  digest: string,
): void {
  const temporary = temporaryName(linux, parent, name);
  try {
    const written = write(linux, parent, temporary, item);
    const { digest: found } = measure(written);
    if (found !== digest) {
      throw new Error(`read back, it has the digest ${found}; expected ${digest}`);
    }
    const old = exists(linux, parent, name);
    linux.renameat2(parent, temporary, parent, name, old ? RENAME_EXCHANGE : 0);
    settleNames(linux, parent);
    if (old) discard(linux, parent, temporary, name);
  } catch (error) {
    try {
      removeTree(linux, parent, temporary);
    } catch {
      // the first error is the one to tell
    }
    throw error;
  }
}

/** Makes it, each file durable; what is there now, in the item's order. */
function write(linux: Linux, parent: Fd, name: string, item: Item): Content[] {
  if (typeof item === "function") {
    makeName(linux, parent, () => createFile(linux, parent, name, item(), FILE_MODE));
    return [contentAt(linux, parent, name)];
  }
  makeName(linux, parent, () => linux.mkdirat(parent, name, DIRECTORY_MODE));
  withDirectory(linux, parent, name, (directory) => {
    for (const [file, content] of item) createFile(linux, directory, file, content(), FILE_MODE);
    linux.fsync(directory);
  });
  return [...item.keys()].map((file) => contentAt(linux, parent, `${name}/${file}`));
}

/** Removes what was written for names that are `ours`, and did not get them. */
export function discardUnplaced(linux: Linux, parent: Fd, ours: (name: string) => boolean): void {
  for (const name of temporaryNames(linux, parent, ours)) discard(linux, parent, name);
}
