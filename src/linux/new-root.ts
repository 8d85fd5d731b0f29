/**
 * A root file system while it is put together: detached, where nobody sees it half done, and attached when it is
 * complete. Before Linux 6.15 nothing can be mounted inside a detached mount; there it is attached first.
 */
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  MNT_DETACH,
  MOVE_MOUNT_BENEATH,
  MOVE_MOUNT_F_EMPTY_PATH,
  MOVE_MOUNT_T_EMPTY_PATH,
  MS_PRIVATE,
  O_CLOEXEC,
  O_DIRECTORY,
  O_PATH,
  OPEN_TREE_CLOEXEC,
  OPEN_TREE_CLONE,
  RESOLVE_BENEATH,
  RESOLVE_NO_SYMLINKS,
} from "./constants.ts";
import { type Fd, isErrno, type Linux } from "./linux.ts";

export class NewRoot {
  readonly fd: Fd;
  readonly #linux: Linux;
  readonly #target: string;
  #attached = false;

  /** `mount` is detached; `target` is where it will be. */
  constructor(linux: Linux, mount: Fd, target: string) {
    this.#linux = linux;
    this.fd = mount;
    this.#target = target;
  }

  /** Mounts a detached mount on a directory of the root (`openDirectory`). */
  place(mount: Fd, directory: Fd): void {
    const flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    try {
      this.#linux.move_mount(mount, "", directory, "", flags);
    } catch (error) {
      if (this.#attached || !isErrno(error, "EINVAL")) throw error;
      this.attach();
      this.#linux.move_mount(mount, "", directory, "", flags);
    }
  }

  /** Attaches the root on top of its target. A second call does nothing. */
  attach(): void {
    if (this.#attached) return;
    this.#linux.move_mount(this.fd, "", AT_FDCWD, this.#target, MOVE_MOUNT_F_EMPTY_PATH);
    this.#attached = true;
  }

  /** Attaches the root instead of the mount at its target, without a moment in which nothing is there. */
  replace(): void {
    if (this.#attached) return;
    try {
      const flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_BENEATH;
      this.#linux.move_mount(this.fd, "", AT_FDCWD, this.#target, flags);
    } catch (error) {
      // The target is no mount point, or propagation forbids it: then on top, as before Linux 6.15.
      if (!isErrno(error, "EINVAL")) throw error;
      this.attach();
      return;
    }
    this.#linux.umount2(this.#target, MNT_DETACH);
    this.#attached = true;
  }

  /** Takes a half-made root away again, if it was attached. */
  abandon(): void {
    if (this.#attached) this.#linux.umount2(this.#target, MNT_DETACH);
    this.#attached = false;
  }
}

/** Opens a directory of an image's root as `O_PATH`; `undefined` if there is none. Symlinks are not followed. */
export function openDirectory(linux: Linux, root: Fd, name: string): Fd | undefined {
  try {
    return linux.openat2(root, name, {
      flags: O_PATH | O_DIRECTORY | O_CLOEXEC,
      resolve: RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
    });
  } catch (error) {
    if (isErrno(error, "ENOENT")) return undefined;
    throw new Error(`the new root's /${name} is not a directory`, { cause: error });
  }
}

/**
 * A detached clone of what is mounted at `directory`, without the mounts below it. Private: what is mounted on the
 * original later does not appear on it. `attributes` are `MOUNT_ATTR_*` to set or to clear.
 */
export function cloneMount(
  linux: Linux,
  directory: Fd,
  attributes: { readonly set?: number; readonly clear?: number } = {},
): Fd {
  const flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH;
  const clone = linux.open_tree(directory, "", flags);
  try {
    linux.mount_setattr(clone, "", AT_EMPTY_PATH, { ...attributes, propagation: MS_PRIVATE });
    return clone;
  } catch (error) {
    linux.close(clone);
    throw error;
  }
}
