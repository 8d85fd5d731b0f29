/**
 * composefs-setup-root on Node instead of QuickJS: the same program on the other provider of system calls.
 *
 * With `CFSBOOT_TEST_KERNEL` the provider behaves like another kernel where it matters. `6.12`: no layers by descriptor,
 * and nothing can be mounted inside a detached mount. `stacking`: EROFS from a file counts as a level of stacking.
 */
import { writeSync } from "node:fs";
import { run } from "../../initrd/program.ts";
import {
  AT_FDCWD,
  FSCONFIG_CMD_CREATE,
  FSCONFIG_SET_FD,
  MOVE_MOUNT_BENEATH,
  MOVE_MOUNT_T_EMPTY_PATH,
} from "../../src/linux/constants.ts";
import { type Linux, LinuxError } from "../../src/linux/linux.ts";
import { linux } from "../../userspace/linux.ts";

function invalid(syscall: string): LinuxError {
  return new LinuxError(22, "EINVAL", "Invalid argument", syscall, "");
}

function like612(real: Linux): Linux {
  const attached = new Set<string>();
  return {
    ...real,
    fsconfig(fd, command, key, value, aux) {
      if (command === FSCONFIG_SET_FD) throw invalid("fsconfig");
      real.fsconfig(fd, command, key, value, aux);
    },
    move_mount(fromdirfd, from, todirfd, to, flags) {
      const inside = (flags & MOVE_MOUNT_T_EMPTY_PATH) !== 0;
      if (inside && !attached.has("root")) throw invalid("move_mount");
      if ((flags & MOVE_MOUNT_BENEATH) !== 0) throw invalid("move_mount");
      real.move_mount(fromdirfd, from, todirfd, to, flags);
      if (todirfd === AT_FDCWD && !String(to).includes("/composefs-")) attached.add("root");
    },
  };
}

function stacking(real: Linux): Linux {
  let fromFile = false;
  const upper = new Set<number>();
  return {
    ...real,
    fsconfig(fd, command, key, value, aux) {
      if (key === "source" && String(value).startsWith("/proc/self/fd/")) fromFile = true;
      if (key === "source" && String(value).startsWith("/dev/loop")) fromFile = false;
      if (key === "upperdir") upper.add(fd);
      if (command === FSCONFIG_CMD_CREATE && upper.has(fd) && fromFile) throw invalid("fsconfig");
      real.fsconfig(fd, command, key, value, aux);
    },
    close(fd) {
      upper.delete(fd);
      real.close(fd);
    },
  };
}

const kernels: Record<string, (real: Linux) => Linux> = { "6.12": like612, stacking };
const provider = kernels[process.env.CFSBOOT_TEST_KERNEL ?? ""]?.(linux) ?? linux;
process.exitCode = run(provider, process.argv.slice(2), {
  stdout: (text) => writeSync(1, text),
  stderr: (text) => writeSync(2, text),
});
