/** A `Linux` on which things go wrong, or are watched. */
import { type Fd, type Linux, LinuxError } from "../../src/linux/linux.ts";

const EIO = 5;

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
 * The `nth` call (from 1) fails with EIO and does nothing. "error": the others work. "death": from then on none does
 * anything, as if the process had been killed there.
 */
export function troubleAt(real: Linux, nth: number, kind: "error" | "death"): Trouble {
  let count = 0;
  const open = new Set<Fd>();
  const dead = () => kind === "death" && count >= nth;
  const linux = watched(real, (call, args) => {
    if (call === "geteuid") return;
    count++;
    if (count === nth || dead()) {
      throw new LinuxError(EIO, "EIO", "Input/output error", call, String(args[1] ?? args[0]));
    }
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
