/** A machine that is told by its directories: an image of a disk that is mounted somewhere, or a test. */
import { hashOfHexLength } from "../../src/formats/digest.ts";
import { AT_FDCWD } from "../../src/linux/constants.ts";
import { openDirectory } from "../../src/linux/directories.ts";
import type { Fd, Linux } from "../../src/linux/linux.ts";
import { type BootPlace, espPlace, grubPlace } from "../bootloader/boot-place.ts";
import type { Host, Loader } from "./host.ts";
import { leadingFirst } from "./in-step.ts";
import { bootId } from "./outcome.ts";

/** Where everything is. */
export interface HostDirectories {
  /** The physical root. */
  readonly sysroot: string;
  /** What the boot loader reads, one for each disk; none: `boot` of the physical root. */
  readonly boot: readonly string[];
  /** Whether GRUB's `boot` is a file system of its own; absent: if it is not that of the physical root. */
  readonly separateBoot?: boolean;
  /** What is `/run/composefs` there; absent if no system runs. */
  readonly run: string | undefined;
  readonly loader: Loader;
  /** The deployment that runs, its id; with a `?` before it if without fs-verity. */
  readonly running: string | undefined;
  /** The command line of its kernel; absent if nobody knows it. */
  readonly cmdline?: string | undefined;
}

/** Opens it. Closed by `using`. */
export function openExplicitHost(linux: Linux, where: HostDirectories): Host & Disposable {
  const fds: Fd[] = [];
  const open = (path: string) => {
    try {
      const fd = openDirectory(linux, AT_FDCWD, path.replace(/(?<=.)\/+$/, ""));
      fds.push(fd);
      return fd;
    } catch (error) {
      throw new Error(`open ${path}`, { cause: error });
    }
  };
  const close = () => {
    for (const fd of fds.splice(0)) linux.close(fd);
  };
  try {
    const { sysroot, boot, loader, cmdline } = where;
    const inside = `${sysroot}/boot`;
    const place = (path: string): BootPlace =>
      loader === "grub"
        ? grubPlace(open(path), path, where.separateBoot ?? path !== inside)
        : espPlace(open(path), path);
    const [first = inside, ...more] = boot;
    const running = where.running === undefined ? undefined : parseRunning(where.running);
    const host: Host = {
      linux,
      sysroot: open(sysroot),
      sysrootPath: sysroot,
      places: [place(first), ...more.map(place)],
      loader,
      run: where.run === undefined ? undefined : open(where.run),
      running,
      ...(cmdline !== undefined && { cmdline }),
      bootId: bootId(linux),
    };
    const places = running === undefined ? host.places : leadingFirst(host, running.id);
    return { ...host, places, [Symbol.dispose]: close };
  } catch (error) {
    close();
    throw error;
  }
}

/** Reads what runs: an id, perhaps with a `?`. Throws for what is none. */
export function parseRunning(text: string): { readonly id: string; readonly insecure: boolean } {
  const insecure = text.startsWith("?");
  const id = insecure ? text.slice(1) : text;
  if (!/^[0-9a-f]+$/.test(id) || hashOfHexLength(id.length) === undefined) {
    throw new Error(`${JSON.stringify(text)}: expected a deployment's id, 64 or 128 hex digits`);
  }
  return { id, insecure };
}
