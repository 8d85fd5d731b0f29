/**
 * A mount that systemd only finds in the list of mounts is none that other units can require, whatever they ask for with
 * `RequiresMountsFor=`: at shutdown it is unmounted while they still use it. On `/var` that is the journal, and unmounting
 * fails. With a unit file it is a mount like any other.
 */
import { ascii, toBytes } from "../formats/bytestring.ts";
import { statePath } from "../model/root-plan.ts";
import { AT_FDCWD, O_CLOEXEC, O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } from "./constants.ts";
import { writeAll } from "./files.ts";
import { isErrno, type Linux } from "./linux.ts";

const UNIT = "/run/systemd/system/var.mount";
/** Only the initramfs has it. */
const INITRAMFS = "/etc/initrd-release";

/** Writes the unit of `/var` in an initramfs. What was done, or why not, in a line; never a reason to fail. */
export function writeVarUnit(linux: Linux, digest: string): string | undefined {
  const text = `[Unit]
Description=/var of all deployments
Documentation=man:composefs-setup-root(8)
ConditionPathExists=!${INITRAMFS}

[Mount]
What=/sysroot/${statePath(digest)}/var
Where=/var
Options=bind
`;
  try {
    linux.statx(AT_FDCWD, INITRAMFS, 0);
    const flags = O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC;
    const fd = linux.openat(AT_FDCWD, UNIT, flags, 0o644);
    try {
      writeAll(linux, fd, toBytes(ascii(text)));
    } finally {
      linux.close(fd);
    }
    return `${UNIT}: written`;
  } catch (error) {
    if (isErrno(error, "ENOENT", "EEXIST")) return undefined;
    return `${UNIT} could not be written: ${error instanceof Error ? error.message : error}`;
  }
}
