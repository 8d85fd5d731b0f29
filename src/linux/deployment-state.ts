/** The directories in which a deployment keeps its `/etc` and `/var`, on the physical root. */
import { display } from "../formats/bytestring.ts";
import { statePath } from "../model/root-plan.ts";
import {
  AT_EMPTY_PATH,
  MOUNT_ATTR_RDONLY,
  O_CLOEXEC,
  O_DIRECTORY,
  O_PATH,
  RESOLVE_IN_ROOT,
} from "./constants.ts";
import { HintedError } from "./hint.ts";
import { type Fd, isErrno, type Linux } from "./linux.ts";
import { cloneMount } from "./new-root.ts";

/**
 * A detached clone of the deployment's directory `name` (`etc`, `var`) below `sysroot`, called `sysrootPath` in messages.
 * It is writable where the file system is, even if the mount at `sysroot` is not, as in a running system.
 *
 * Symlinks are resolved below the physical root: `var` is usually one, to the `/var` that all deployments share. This
 * must come before anything is mounted on `sysroot`: a `..` that ends there would lead into the new mount.
 */
export function cloneState(
  linux: Linux,
  sysroot: Fd,
  sysrootPath: string,
  digest: string,
  name: string,
): Fd {
  const directory = openState(linux, sysroot, sysrootPath.replace(/\/+$/, ""), digest, name);
  try {
    const clone = cloneMount(linux, directory);
    try {
      linux.mount_setattr(clone, "", AT_EMPTY_PATH, { clear: MOUNT_ATTR_RDONLY });
    } catch (error) {
      // In a user namespace the flag may be locked. Then it stays.
      if (!isErrno(error, "EPERM")) throw error;
    }
    return clone;
  } finally {
    linux.close(directory);
  }
}

function openState(
  linux: Linux,
  sysroot: Fd,
  sysrootPath: string,
  digest: string,
  name: string,
): Fd {
  const open = (path: string): Fd =>
    linux.openat2(sysroot, path, {
      flags: O_PATH | O_DIRECTORY | O_CLOEXEC,
      resolve: RESOLVE_IN_ROOT,
    });
  const base = statePath(digest);
  try {
    linux.close(open(base));
  } catch (cause) {
    const hint = "the image is in the repository, but no deployment of it on this disk";
    throw new HintedError(`no state directory ${sysrootPath}/${base}`, hint, { cause });
  }
  try {
    return open(`${base}/${name}`);
  } catch (cause) {
    const link = describeLink(linux, sysroot, `${base}/${name}`);
    throw new Error(`no state directory ${sysrootPath}/${base}/${name}${link}`, { cause });
  }
}

function describeLink(linux: Linux, sysroot: Fd, path: string): string {
  try {
    return ` (a link to ${display(linux.readlinkat(sysroot, path))})`;
  } catch {
    return "";
  }
}
