/** A `/usr` that can be written to until the next boot: an overlay whose changes are in memory. */
import { fromText } from "../../src/formats/bytestring.ts";
import { type MountInfo, mountAt, parseMountInfo } from "../../src/formats/mountinfo.ts";
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  MOUNT_ATTR_RDONLY,
  MOVE_MOUNT_F_EMPTY_PATH,
  O_CLOEXEC,
  O_DIRECTORY,
  O_PATH,
} from "../../src/linux/constants.ts";
import { readFile } from "../../src/linux/files.ts";
import { createMount } from "../../src/linux/fs-context.ts";
import type { Fd, Linux } from "../../src/linux/linux.ts";
import { TemporaryMounts } from "../../src/linux/temporary-mounts.ts";
import { mountWritable } from "../../src/linux/writable-overlay.ts";
import type { UsrOverlay } from "../../src/model/host-status.ts";

/** What `findmnt` shows as the source, as bootc has it. */
const SOURCE = "transient";
const MAX_PROC = 16 << 20;

/** The overlay on a directory of the running system, if there is one. */
export function readUsrOverlay(linux: Linux, path = "/usr"): UsrOverlay | undefined {
  const mount = mountOn(linux, path);
  if (mount?.type !== "overlay") return undefined;
  return {
    accessMode: mount.options.includes("ro") ? "readOnly" : "readWrite",
    persistence: "transient",
  };
}

function mountOn(linux: Linux, path: string): MountInfo | undefined {
  const bytes = readFile(linux, AT_FDCWD, "/proc/self/mountinfo", MAX_PROC);
  return mountAt(parseMountInfo(bytes), fromText(path));
}

/** Throws if there is an overlay on the directory. */
export function requireNoOverlay(linux: Linux, path = "/usr"): void {
  if (mountOn(linux, path)?.type === "overlay") {
    throw new Error(`an overlay is already mounted on ${path}`);
  }
}

/**
 * Mounts it. `readOnly`: who has a mount namespace of his own can make it writable there. Throws if there is an overlay on
 * the directory already.
 */
export function mountUsrOverlay(linux: Linux, readOnly: boolean, path = "/usr"): void {
  requireNoOverlay(linux, path);
  const temporary = new TemporaryMounts(linux);
  const open: Fd[] = [];
  const keep = (fd: Fd) => {
    open.push(fd);
    return fd;
  };
  try {
    const lower = keep(linux.openat(AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC));
    const parent = keep(
      createMount(
        linux,
        "tmpfs",
        [
          ["source", SOURCE],
          ["mode", "0755"],
        ],
        0,
      ),
    );
    const attachLayers = () => temporary.attach(parent);
    const overlay = keep(
      mountWritable(linux, { source: SOURCE, lower, parent, way: "auto", attachLayers }),
    );
    if (readOnly) linux.mount_setattr(overlay, "", AT_EMPTY_PATH, { set: MOUNT_ATTR_RDONLY });
    linux.move_mount(overlay, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH);
  } finally {
    temporary.release();
    for (const fd of open.reverse()) linux.close(fd);
  }
}
