/** Overlays that make a directory of the image writable. */
import {
  AT_EMPTY_PATH,
  AT_SYMLINK_NOFOLLOW,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_RDONLY,
} from "./constants.ts";
import { type Fd, isErrno, type Linux } from "./linux.ts";
import { type LayerWay, mountOverlay } from "./overlay.ts";

export interface WritableOverlay {
  /** What `findmnt` shows as the source. */
  readonly source: string;
  /** The directory to make writable. */
  readonly lower: Fd;
  /** The root of a mount in which the directories `upper` (the changes) and `work` are, or are made. */
  readonly parent: Fd;
  readonly way: LayerWay | "auto";
  readonly attachLayers: () => void;
}

/** Mounts it, detached. */
export function mountWritable(linux: Linux, overlay: WritableOverlay): Fd {
  const dir = openUpper(linux, overlay.parent, overlay.lower);
  try {
    const work = makeDirectory(linux, overlay.parent, "work", 0o700).fd;
    try {
      const upper = { dir, work };
      return mountOverlay(linux, { ...overlay, upper, readOnly: false }).fd;
    } finally {
      linux.close(work);
    }
  } finally {
    linux.close(dir);
  }
}

/** The merged directory has the upper one's owner and mode: a new one gets those of the directory below. */
function openUpper(linux: Linux, parent: Fd, lower: Fd): Fd {
  const { fd, made } = makeDirectory(linux, parent, "upper", 0o755);
  if (made) {
    const { mode, uid, gid } = linux.statx(lower, "", AT_EMPTY_PATH);
    linux.fchownat(parent, "upper", uid, gid, AT_SYMLINK_NOFOLLOW);
    linux.fchmod(fd, mode & 0o7777);
  }
  return fd;
}

function makeDirectory(
  linux: Linux,
  parent: Fd,
  name: string,
  mode: number,
): { readonly fd: Fd; readonly made: boolean } {
  let made = true;
  try {
    linux.mkdirat(parent, name, mode);
  } catch (error) {
    if (!isErrno(error, "EEXIST")) throw error;
    made = false;
  }
  const flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  return { fd: linux.openat(parent, name, flags), made };
}
