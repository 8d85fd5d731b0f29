/** Overlay mounts, told their layers in whichever way the running kernel understands. */
import { MOUNT_ATTR_RDONLY } from "./constants.ts";
import { checksOptions, createMount, type FsSetting, isRefused } from "./fs-context.ts";
import { HintedError } from "./hint.ts";
import type { Fd, Linux } from "./linux.ts";

/**
 * How overlayfs is told its layers, newest first.
 *
 *     fds      lowerdir+, datadir+, upperdir, workdir as open files   from Linux 6.13; detached mounts from 6.15
 *     strings  the same as paths, one option for each layer           from Linux 6.7
 *     paths    lowerdir=LOWER::DATA::DATA                             from Linux 6.5
 */
export type LayerWay = "fds" | "strings" | "paths";

const WAYS: readonly LayerWay[] = ["fds", "strings", "paths"];

export interface OverlayOptions {
  /** What `findmnt` shows as the source. */
  readonly source: string;
  readonly lower: Fd;
  /** Data-only layers: found through redirects, not by name. */
  readonly data?: readonly Fd[];
  /** For a writable mount: the directory that takes the changes, and an empty one beside it. */
  readonly upper?: { readonly dir: Fd; readonly work: Fd } | undefined;
  /** Further options, before the layers. */
  readonly settings?: readonly FsSetting[];
  readonly readOnly: boolean;
  readonly way: LayerWay | "auto";
  /** Called before layers are given as paths: a layer in a detached mount must be attached then. Perhaps twice. */
  readonly attachLayers: () => void;
}

/**
 * Makes a detached overlay mount and tells which way worked. The kernel is asked by trying. Throws `FsContextError`,
 * or an error with a hint where the kernel's overlayfs is too old.
 */
export function mountOverlay(
  linux: Linux,
  options: OverlayOptions,
): { readonly fd: Fd; readonly way: LayerWay } {
  const ways = options.way === "auto" ? WAYS : [options.way];
  const attributes = options.readOnly ? MOUNT_ATTR_RDONLY : 0;
  for (const [i, way] of ways.entries()) {
    const settings: FsSetting[] = [
      ["source", options.source],
      ...(options.settings ?? []),
      ...layerSettings(options, way),
    ];
    try {
      if (way !== "fds") options.attachLayers();
      return { fd: createMount(linux, "overlay", settings, attributes), way };
    } catch (error) {
      if (isRefused(error, "ENODEV")) {
        throw new HintedError(
          "this kernel has no overlayfs",
          "the kernel module overlay must be in the initramfs",
          { cause: error },
        );
      }
      // What a kernel says to an option, to a kind of value or to a detached layer that it does not know.
      if (isRefused(error, "EINVAL", "EBADF", "EOPNOTSUPP") && i + 1 < ways.length) continue;
      if (isRefused(error, "EINVAL") && !checksOptions(linux, "overlay")) {
        throw new HintedError(
          "this kernel's overlayfs has no data-only layers",
          "boot Linux 6.6 or newer (6.12 is tested)",
          { cause: error },
        );
      }
      throw error;
    }
  }
  throw new Error("unreachable");
}

function layerSettings(options: OverlayOptions, way: LayerWay): FsSetting[] {
  const { lower, data = [], upper } = options;
  const value = (fd: Fd) => (way === "fds" ? { fd } : pathOf(fd));
  const lowers: FsSetting[] =
    way === "paths"
      ? [["lowerdir", [lower, ...data].map(pathOf).join("::")]]
      : [["lowerdir+", value(lower)], ...data.map((fd): FsSetting => ["datadir+", value(fd)])];
  if (upper === undefined) return lowers;
  return [...lowers, ["upperdir", value(upper.dir)], ["workdir", value(upper.work)]];
}

function pathOf(fd: Fd): string {
  return `/proc/self/fd/${fd}`;
}
