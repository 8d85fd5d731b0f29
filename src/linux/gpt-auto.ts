/**
 * systemd finds the disk below the root by the root's device number, and an overlay has none of its own. It also looks
 * at `/run/systemd/volatile-root`, a link that names the block device (systemd#35017). Where the root partition was found
 * by systemd-gpt-auto-generator, `/dev/gpt-auto-root` is that device.
 */
import { AT_FDCWD, S_IFBLK, S_IFMT } from "./constants.ts";
import { isErrno, type Linux } from "./linux.ts";

const DEVICE = "/dev/gpt-auto-root";
const LINK = "/run/systemd/volatile-root";

/** Makes the link if it is wanted and not there. What was done, or why not, in a line; never a reason to fail. */
export function workAroundGptAuto(linux: Linux): string | undefined {
  try {
    const { mode, rdevMajor, rdevMinor } = linux.statx(AT_FDCWD, DEVICE, 0);
    if ((mode & S_IFMT) !== S_IFBLK) return undefined;
    const target = `/dev/block/${rdevMajor}:${rdevMinor}`;
    linux.symlinkat(target, AT_FDCWD, LINK);
    return `${LINK}: link to ${target}`;
  } catch (error) {
    if (isErrno(error, "ENOENT", "EEXIST")) return undefined;
    return `${LINK} could not be made: ${error instanceof Error ? error.message : error}`;
  }
}
