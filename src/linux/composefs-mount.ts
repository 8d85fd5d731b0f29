/**
 * Mounting composefs: an EROFS image that holds the tree, and an overlay that finds the content of its files in
 * directories of objects.
 */
import { AT_EMPTY_PATH, MOUNT_ATTR_IDMAP, MOUNT_ATTR_RDONLY } from "./constants.ts";
import { createMount, type FsSetting, isRefused } from "./fs-context.ts";
import { HintedError } from "./hint.ts";
import type { Fd, Linux } from "./linux.ts";
import { attachLoop } from "./loop.ts";
import { type LayerWay, mountOverlay } from "./overlay.ts";
import { TemporaryMounts } from "./temporary-mounts.ts";

/** How an EROFS image is mounted: from its file (from Linux 6.12), or through a loop device. */
export type ErofsWay = "file" | "loop";

export interface ComposefsMountOptions {
  /** The image, open for reading. Whoever requires fs-verity has measured this very descriptor. */
  readonly image: Fd;
  /** The image's name: the mount's source is `composefs:NAME`. */
  readonly name: string;
  /** The repositories' `objects` directories. `O_PATH` will do. */
  readonly dataDirs: readonly Fd[];
  /**
   * `require`: the kernel compares each object's fs-verity digest with the image's when the object is opened. A kernel
   * without fs-verity accepts this too and then fails every open; measuring the image tells beforehand.
   */
  readonly verity: "require" | "none";
  /** For a writable mount. */
  readonly upper?: { readonly dir: Fd; readonly work: Fd };
  readonly readOnly: boolean;
  /** The user namespace whose mapping of users and groups the image is shown with. */
  readonly userns?: Fd;
  /** `auto` (what is meant when absent) tries what the kernel can; the others are for tests and odd kernels. */
  readonly erofs?: ErofsWay | "auto";
  readonly layers?: LayerWay | "auto";
}

/** A mount that is attached nowhere yet (`move_mount` does that), and how the kernel made it. */
export interface ComposefsMount {
  readonly fd: Fd;
  readonly erofs: ErofsWay;
  readonly layers: LayerWay;
}

/** Mounts an image over its objects. The errors hold the kernel's own words. */
export function mountComposefs(linux: Linux, options: ComposefsMountOptions): ComposefsMount {
  const erofs = mountErofs(linux, options.image, options.erofs ?? "auto");
  const temporary = new TemporaryMounts(linux);
  try {
    if (options.userns !== undefined) {
      const mapping = { set: MOUNT_ATTR_IDMAP, userns: options.userns };
      linux.mount_setattr(erofs.fd, "", AT_EMPTY_PATH, mapping);
    }
    const settings: FsSetting[] = [
      ["metacopy", "on"],
      ["redirect_dir", "on"],
    ];
    if (options.verity === "require") settings.push(["verity", "require"]);
    const overlay = mountOverlay(linux, {
      source: `composefs:${options.name}`,
      lower: erofs.fd,
      data: options.dataDirs,
      upper: options.upper,
      settings,
      readOnly: options.readOnly,
      way: options.layers ?? "auto",
      attachLayers: () => temporary.attach(erofs.fd),
    });
    return { fd: overlay.fd, erofs: erofs.way, layers: overlay.way };
  } finally {
    temporary.release();
    linux.close(erofs.fd);
  }
}

/** Mounts the EROFS image alone, read-only and detached. */
export function mountErofs(
  linux: Linux,
  image: Fd,
  way: ErofsWay | "auto",
): { readonly fd: Fd; readonly way: ErofsWay } {
  const from = (source: string): Fd => {
    try {
      const settings: FsSetting[] = [
        ["ro", true],
        ["source", source],
      ];
      return createMount(linux, "erofs", settings, MOUNT_ATTR_RDONLY);
    } catch (error) {
      if (!isRefused(error, "ENODEV")) throw error;
      throw new HintedError(
        "this kernel has no EROFS",
        "the kernel module erofs must be in the initramfs",
        { cause: error },
      );
    }
  };
  if (way !== "loop") {
    try {
      return { fd: from(`/proc/self/fd/${image}`), way: "file" };
    } catch (error) {
      // "Block device required": this kernel mounts no files.
      if (way === "file" || !isRefused(error, "ENOTBLK")) throw error;
    }
  }
  const loop = attachLoop(linux, image);
  try {
    return { fd: from(loop.path), way: "loop" };
  } finally {
    linux.close(loop.fd);
  }
}
