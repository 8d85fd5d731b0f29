/** Loop devices: a file as a block device, for kernels that cannot mount EROFS from a file (before Linux 6.12). */
import {
  AT_FDCWD,
  LO_FLAGS_AUTOCLEAR,
  LO_FLAGS_DIRECT_IO,
  LO_FLAGS_READ_ONLY,
  LOOP_CONFIGURE,
  LOOP_CTL_GET_FREE,
  O_CLOEXEC,
  O_RDWR,
} from "./constants.ts";
import { HintedError } from "./hint.ts";
import { type Fd, isErrno, type Linux } from "./linux.ts";

/** Between asking for a free device and configuring it somebody else may take it: EBUSY. */
const ATTEMPTS = 64;

/** `struct loop_config` (linux/loop.h): offsets of the fields that are set; all else is zero. */
const LOOP_CONFIG = { size: 304, fd: 0, block_size: 4, info_flags: 8 + 52 };

/**
 * Makes a read-only block device of an open file and returns the device, open. It has blocks of 4096 bytes and frees
 * itself when the last user (this descriptor, then the mount) is gone. Also its path, for messages and as a source.
 */
export function attachLoop(linux: Linux, file: Fd): { readonly fd: Fd; readonly path: string } {
  const control = openControl(linux);
  try {
    for (let attempt = 1; ; attempt++) {
      const path = `/dev/loop${linux.ioctlValue(control, LOOP_CTL_GET_FREE, 0)}`;
      const device = linux.openat(AT_FDCWD, path, O_RDWR | O_CLOEXEC);
      try {
        linux.ioctl(device, LOOP_CONFIGURE, loopConfig(file));
        return { fd: device, path };
      } catch (error) {
        linux.close(device);
        if (!isErrno(error, "EBUSY") || attempt === ATTEMPTS) {
          throw new Error(`configure ${path}`, { cause: error });
        }
      }
    }
  } finally {
    linux.close(control);
  }
}

function openControl(linux: Linux): Fd {
  try {
    return linux.openat(AT_FDCWD, "/dev/loop-control", O_RDWR | O_CLOEXEC);
  } catch (cause) {
    throw new HintedError("no loop devices", "the kernel module loop must be in the initramfs", {
      cause,
    });
  }
}

function loopConfig(file: Fd): Uint8Array {
  const config = new Uint8Array(LOOP_CONFIG.size);
  const view = new DataView(config.buffer);
  view.setUint32(LOOP_CONFIG.fd, file, true);
  view.setUint32(LOOP_CONFIG.block_size, 4096, true);
  view.setUint32(
    LOOP_CONFIG.info_flags,
    LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO,
    true,
  );
  return config;
}
