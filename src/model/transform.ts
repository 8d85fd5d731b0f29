/**
 * What is done to a container's tree before an image is made of it, so that it gives the same image digest wherever the tree
 * comes from: the layers, or a mounted root during a build. As composefs-rs does it.
 */
import { ascii } from "../formats/bytestring.ts";
import type { ReadContent } from "./selinux/policy.ts";
import { relabel } from "./selinux/relabel.ts";
import { forEachStat } from "./stats.ts";
import { type Directory, NO_XATTRS, type Tree } from "./tree.ts";

/**
 * Which extended attributes of a layer get into the image: those that are known to belong to the content, or also
 * `user.*`. Never what depends on the machine that built the layer, like SELinux labels.
 */
export type XattrMode = "allowlist-only" | "keep-user-xattrs";

const ALLOWED_XATTRS: ReadonlySet<string> = new Set(["security.capability"]);
const USER_XATTRS = "user.";

/**
 * Makes the tree of a container's layers the one of its image, in place: the root's metadata is that of `/usr` (layers
 * seldom have it), `/run` is empty (builders leave mount points there), extended attributes are filtered.
 */
export function transformForOci(tree: Tree, xattrs: XattrMode = "allowlist-only"): void {
  const usr = requireDirectory(tree, "usr");
  tree.stat = { ...usr.stat };
  if (tree.entries.has(ascii("run"))) {
    const run = requireDirectory(tree, "run");
    run.entries.clear();
    run.stat.mtimeSec = usr.stat.mtimeSec;
    run.stat.mtimeNsec = usr.stat.mtimeNsec;
  }
  const isKept = (name: string) =>
    ALLOWED_XATTRS.has(name) || (xattrs === "keep-user-xattrs" && name.startsWith(USER_XATTRS));
  forEachStat(tree, (stat) => {
    if (stat.xattrs.size === 0) return;
    const kept = [...stat.xattrs].filter(([name]) => isKept(name));
    if (kept.length < stat.xattrs.size) stat.xattrs = kept.length > 0 ? new Map(kept) : NO_XATTRS;
  });
}

/**
 * Makes an image's tree the bootable one, in place, after `transformForOci`: `/boot` and `/sysroot` are empty (a kernel
 * image that holds the image's digest cannot be inside of it), SELinux labels are those of the tree's own policy.
 */
export function transformForBoot(tree: Tree, read: ReadContent): void {
  const usr = requireDirectory(tree, "usr");
  for (const name of ["boot", "sysroot"]) {
    const directory = requireDirectory(tree, name, "a bootable image needs it");
    directory.entries.clear();
    // To the nanosecond, as composefs-rs 0.9.4 does; its earlier releases left the fraction of a second as it was.
    directory.stat.mtimeSec = usr.stat.mtimeSec;
    directory.stat.mtimeNsec = usr.stat.mtimeNsec;
  }
  relabel(tree, read);
}

function requireDirectory(tree: Tree, name: string, why?: string): Directory {
  const node = tree.entries.get(ascii(name));
  if (node?.type === "directory") return node;
  const what = node === undefined ? "does not exist" : "is not a directory";
  throw new Error(`/${name} ${what}${why === undefined ? "" : `: ${why}`}`);
}
