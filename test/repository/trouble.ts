/** A `Linux` on which things go wrong, or are watched. */
import {
  FS_IOC_ENABLE_VERITY,
  O_CREAT,
  O_DIRECTORY,
  O_TMPFILE,
} from "../../src/linux/constants.ts";
import { type Fd, type Linux, LinuxError } from "../../src/linux/linux.ts";

const EIO = 5;
const ENOSPC = 28;
const NO_SPACE = "No space left on device";

type Call = keyof Linux;

/** Calls `before` before every call of `linux` but `close`, with its name and arguments. */
export function watched(
  linux: Linux,
  before: (call: Call, args: readonly unknown[]) => void,
): Linux {
  const wrapped: Record<string, unknown> = {};
  for (const [name, call] of Object.entries(linux)) {
    wrapped[name] = (...args: unknown[]) => {
      if (name !== "close") before(name as Call, args);
      return call(...args);
    };
  }
  return wrapped as unknown as Linux;
}

export interface Trouble {
  readonly linux: Linux;
  /** Whether it has happened. */
  readonly happened: () => boolean;
  /** What the kernel does when a process is gone: closes all that it had open. */
  readonly bury: () => void;
}

/**
 * "error": the `nth` call (from 1) fails with EIO and does nothing, the others work. "death": from then on none does
 * anything, as if the process had been killed there.
 *
 * "full", "broken": from the `nth` call on that writes, all that write fail, with ENOSPC or EIO; the first one may still
 * write a part. What frees space works.
 */
export type TroubleKind = "error" | "death" | "full" | "broken";

const OPEN_WRITES = O_CREAT | (O_TMPFILE & ~O_DIRECTORY);

function writes(call: Call, args: readonly unknown[]): boolean {
  switch (call) {
    case "openat":
      return ((args[2] as number) & OPEN_WRITES) !== 0;
    case "ioctl":
      return args[1] === FS_IOC_ENABLE_VERITY;
    case "write":
    case "mkdirat":
    case "symlinkat":
    case "linkat":
    case "renameat2":
    case "ftruncate":
    case "copy_file_range":
    case "ioctlValue":
    case "fsync":
    case "fdatasync":
    case "syncfs":
      return true;
    default:
      return false;
  }
}

/** Trouble at the `nth` call, or at the `nth` that writes. */
export function troubleAt(real: Linux, nth: number, kind: TroubleKind): Trouble {
  const disk = kind === "full" || kind === "broken";
  const lasts = kind !== "error";
  let count = 0;
  const open = new Set<Fd>();
  const dead = () => kind === "death" && count >= nth;
  const linux = watched(real, (call, args) => {
    if (call === "geteuid" || (disk && !writes(call, args))) return;
    count++;
    if (count < nth || (count > nth && !lasts)) return;
    const name = typeof args[1] === "string" ? args[1] : `fd ${args[0]}`;
    if (disk && call === "write" && count === nth) {
      const [fd, data, position] = args as [Fd, Uint8Array, number | undefined];
      if (data.length > 1) real.write(fd, data.subarray(0, data.length >> 1), position);
    }
    if (kind === "full") throw new LinuxError(ENOSPC, "ENOSPC", NO_SPACE, call, name);
    throw new LinuxError(EIO, "EIO", "Input/output error", call, name);
  });
  return {
    happened: () => count >= nth,
    bury: () => {
      for (const fd of open) real.close(fd);
      open.clear();
    },
    linux: {
      ...linux,
      openat(...args) {
        const fd = linux.openat(...args);
        open.add(fd);
        return fd;
      },
      close(fd) {
        if (dead()) return;
        open.delete(fd);
        real.close(fd);
      },
    },
  };
}
