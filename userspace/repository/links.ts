/** Symlinks of a repository: how they are made, re-pointed, read and listed. Paths are relative to `root`. */
import { toText } from "../../src/formats/bytestring.ts";
import { DT_DIR, DT_LNK, O_CLOEXEC, O_DIRECTORY, O_RDONLY } from "../../src/linux/constants.ts";
import { type DirEntry, type Fd, isErrno, type Linux, type Path } from "../../src/linux/linux.ts";
import { RepositoryError } from "./errors.ts";
import { relativeLink, TEMPORARY_SYMLINK } from "./layout.ts";
import { withRandomName } from "./temporary-file.ts";

const DIRECTORY_MODE = 0o755;

/** What a symlink holds; `undefined` if there is none. */
export function readLink(linux: Linux, root: Fd, path: string): string | undefined {
  try {
    const target = toText(linux.readlinkat(root, path));
    if (target !== undefined) return target;
    throw new RepositoryError("corrupt", `${path}: the link's target is not UTF-8`);
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return undefined;
    if (isErrno(error, "EINVAL")) {
      throw new RepositoryError("corrupt", `${path} is not a symbolic link`);
    }
    throw error;
  }
}

/**
 * Makes the symlink `path` that leads to `target` (both paths in the repository), with its parent directories, and makes
 * it durable. `existing` is what happens to a link that is there already and leads elsewhere.
 *
 * Order: parent directories; the link, by one atomic step; sync of the directory that holds it.
 * Whatever `target` leads to must be durable before.
 */
export function setLink(
  linux: Linux,
  root: Fd,
  path: string,
  target: string,
  existing: "keep" | "replace",
): void {
  const link = relativeLink(path, target);
  for (const directory of link.directories) makeDirectory(linux, root, directory);
  try {
    linux.symlinkat(link.target, root, path);
  } catch (error) {
    if (!isErrno(error, "EEXIST")) throw error;
    if (readLink(linux, root, path) === link.target) return;
    if (existing === "keep") return;
    replaceLink(linux, root, path, link.target);
  }
  syncParents(linux, root, path, link.directories);
}

/** Removes a symlink; false if there is none. */
export function removeLink(linux: Linux, root: Fd, path: string): boolean {
  if (readLink(linux, root, path) === undefined) return false;
  try {
    linux.unlinkat(root, path, 0);
  } catch (error) {
    if (isErrno(error, "ENOENT")) return false;
    throw error;
  }
  syncParents(linux, root, path, []);
  return true;
}

/** Names of the symlinks of a directory, sorted; none if there is no such directory. Names here are UTF-8. */
export function listLinks(linux: Linux, root: Fd, directory: string): string[] {
  const names: string[] = [];
  for (const entry of readDirectory(linux, root, directory)) {
    const name = toText(entry.name);
    if (entry.type === DT_LNK && name !== undefined) names.push(name);
  }
  return names.sort();
}

/** Paths below `directory` of all symlinks in it and in its subdirectories, sorted. */
export function findLinks(linux: Linux, root: Fd, directory: string): string[] {
  const found: string[] = [];
  const pending = [""];
  for (let prefix = pending.pop(); prefix !== undefined; prefix = pending.pop()) {
    const at = prefix === "" ? directory : `${directory}/${prefix.slice(0, -1)}`;
    for (const entry of readDirectory(linux, root, at)) {
      const name = toText(entry.name);
      if (name === undefined) continue;
      if (entry.type === DT_DIR) pending.push(`${prefix}${name}/`);
      else if (entry.type === DT_LNK) found.push(prefix + name);
    }
  }
  return found.sort();
}

/** Entries of a directory; none if there is no such directory. */
export function readDirectory(linux: Linux, root: Fd, path: Path): DirEntry[] {
  let fd: Fd;
  try {
    fd = linux.openat(root, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  } catch (error) {
    if (isErrno(error, "ENOENT")) return [];
    throw error;
  }
  try {
    return linux.readdir(fd);
  } finally {
    linux.close(fd);
  }
}

/** Makes a directory if there is none. */
export function makeDirectory(linux: Linux, root: Fd, path: string): void {
  try {
    linux.mkdirat(root, path, DIRECTORY_MODE);
  } catch (error) {
    if (!isErrno(error, "EEXIST")) throw error;
  }
}

/** Makes the entries of a directory durable. */
export function syncDirectory(linux: Linux, root: Fd, path: string): void {
  const fd = linux.openat(root, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  try {
    linux.fsync(fd);
  } finally {
    linux.close(fd);
  }
}

/** A new symlink takes the place of the old one. It is made in `root`, so nobody sees it in a listing of links. */
function replaceLink(linux: Linux, root: Fd, path: string, target: string): void {
  withRandomName(linux, TEMPORARY_SYMLINK, (name) => {
    linux.symlinkat(target, root, name);
    try {
      linux.renameat2(root, name, root, path, 0);
    } catch (error) {
      linux.unlinkat(root, name, 0);
      throw error;
    }
  });
}

/** Syncs the directory that holds `path`, and those that hold the directories which may be new. */
function syncParents(linux: Linux, root: Fd, path: string, directories: readonly string[]): void {
  const parents = new Set([path, ...directories].map(parentOf));
  for (const parent of parents) syncDirectory(linux, root, parent);
}

function parentOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? "." : path.slice(0, slash);
}
