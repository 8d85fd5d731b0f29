/**
 * Names on boot partitions, which are FAT mostly: how they become durable, and how they go.
 *
 * Linux's vfat has no journal. A name is a slot in its directory, which tells where the file is. What creates or removes
 * a name writes into the directory, and its `fsync` makes that durable. But where a renamed or exchanged name leads is
 * written with the *file*, later, and not by the directory's `fsync`: after a power failure a new name may lead nowhere
 * while the old one is gone, and of two that were exchanged one may have changed alone. Then both lead to the same
 * directory, and who removes one of them takes the other one's content away. Only `fsck.vfat` can part them.
 */
import { toBytes, toText } from "../../src/formats/bytestring.ts";
import { AT_SYMLINK_NOFOLLOW, DT_DIR, MSDOS_SUPER_MAGIC } from "../../src/linux/constants.ts";
import { removeTree, withDirectory } from "../../src/linux/directories.ts";
import { type Fd, isErrno, type Linux } from "../../src/linux/linux.ts";

/**
 * Makes durable what was renamed or exchanged in a directory, and all else on its file system.
 *
 * Order: names that came or went, so that an old one is gone before the new one leads to its file; where names lead, those
 * that are in the same sector together; what the disk still has in its cache (vfat's `syncfs` leaves it there).
 */
export function settleNames(linux: Linux, directory: Fd): void {
  linux.fsync(directory);
  linux.syncfs(directory);
  linux.fsync(directory);
}

/**
 * Removes a file or a directory with all that is in it, durably: what is written next may take its place on the disk, and
 * must not be reached by the old name. False if it is not there, or stays because another name beside it, other than
 * `except`, may lead to it, too.
 */
export function discard(linux: Linux, parent: Fd, name: string, except?: string): boolean {
  if (mayBeShared(linux, parent, name, except)) return false;
  if (!removeTree(linux, parent, name)) return false;
  linux.fsync(parent);
  return true;
}

/**
 * Whether a directory beside this one, other than `except`, shows the very same files: then it may be the same one, and
 * nothing in it can be changed.
 */
export function mayBeShared(linux: Linux, parent: Fd, name: string, except?: string): boolean {
  if (linux.fstatfs(parent).type !== MSDOS_SUPER_MAGIC) return false;
  const own = filesOf(linux, parent, name);
  if (own === undefined || own === "") return false;
  return linux.readdir(parent).some((entry) => {
    const other = toText(entry.name);
    if (entry.type !== DT_DIR || other === undefined || other === name) return false;
    return other !== except && filesOf(linux, parent, other) === own;
  });
}

/**
 * Whether something in one directory may be what has the same name in the other: the power failed while it was moved. Then
 * neither directory can go.
 */
export function mayHaveMoved(linux: Linux, parent: Fd, one: string, other: string): boolean {
  if (linux.fstatfs(parent).type !== MSDOS_SUPER_MAGIC) return false;
  const files = filesOf(linux, parent, one)?.split("\n") ?? [];
  const others = new Set(filesOf(linux, parent, other)?.split("\n"));
  return files.some((file) => file !== "" && others.has(file));
}

/** What is in a directory, in its order; times tell files from their copies. `undefined` if it is no directory. */
function filesOf(linux: Linux, parent: Fd, name: string): string | undefined {
  try {
    return withDirectory(linux, parent, name, (directory) =>
      linux
        .readdir(directory)
        .map((entry) => {
          const stat = linux.statx(directory, toBytes(entry.name), AT_SYMLINK_NOFOLLOW);
          return [entry.name, stat.mode, stat.size, stat.mtimeSec, stat.mtimeNsec].join(" ");
        })
        .join("\n"),
    );
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR", "ELOOP")) return undefined;
    throw error;
  }
}
