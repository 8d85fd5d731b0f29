/**
 * Places for mounts that a kernel only uses when they are attached somewhere: before Linux 6.15 overlayfs takes no
 * layer from a detached mount. Nobody else sees more of them than a directory that comes and goes.
 */
import { toHex } from "../formats/digest.ts";
import { AT_FDCWD, AT_REMOVEDIR, MNT_DETACH, MOVE_MOUNT_F_EMPTY_PATH } from "./constants.ts";
import { type Fd, isErrno, type Linux } from "./linux.ts";

/** Where the directories are made: the first that exists and can be written. */
const PLACES = ["/run", "/tmp"];

export class TemporaryMounts {
  readonly #linux: Linux;
  readonly #paths: string[] = [];
  readonly #attached = new Set<Fd>();

  constructor(linux: Linux) {
    this.#linux = linux;
  }

  /** Attaches a detached mount. Its descriptor stays the way to use it. A second call for it does nothing. */
  attach(mount: Fd): void {
    if (this.#attached.has(mount)) return;
    const path = makeDirectory(this.#linux);
    try {
      this.#linux.move_mount(mount, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH);
    } catch (error) {
      this.#linux.unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
      throw error;
    }
    this.#attached.add(mount);
    this.#paths.push(path);
  }

  /** Unmounts them all, lazily: what was built on them goes on. */
  release(): void {
    for (const path of this.#paths.splice(0)) {
      this.#linux.umount2(path, MNT_DETACH);
      this.#linux.unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
    }
    this.#attached.clear();
  }
}

function makeDirectory(linux: Linux): string {
  for (let i = 0; ; i++) {
    const path = `${PLACES[i % PLACES.length]}/composefs-${toHex(linux.getrandom(6))}`;
    try {
      linux.mkdirat(AT_FDCWD, path, 0o700);
      return path;
    } catch (error) {
      const again = isErrno(error, "EEXIST") ? 16 : PLACES.length - 1;
      if (i >= again) throw new Error("no place for a temporary mount", { cause: error });
    }
  }
}
