/** Images by name: which object a name stands for. */
import { type HashName, sameDigest } from "../../src/formats/digest.ts";
import type { Fd, Linux } from "../../src/linux/linux.ts";
import { RepositoryError } from "./errors.ts";
import { baseName, digestOfHex, digestOfTarget, entryPath, refPath } from "./layout.ts";
import { readLink } from "./links.ts";

/**
 * The digest of the image that a name stands for: the hex digest of one in `images/`, else a reference (`debian` or
 * `refs/debian`). Only what is linked below `images/` counts: an object can be anything, an image is something to mount.
 * The digest is always that of the entry, so that whoever opens the object can check it, however it was named.
 */
export function resolveImage(linux: Linux, root: Fd, hash: HashName, name: string): Uint8Array {
  const digest = digestOfHex(name, hash);
  if (digest !== undefined) {
    const entry = name.toLowerCase();
    const linked = imageEntry(linux, root, hash, entry);
    if (linked !== undefined) return linked;
  }
  const reference = name.startsWith("refs/") ? name.slice("refs/".length) : name;
  const target = readLink(linux, root, refPath("images", reference));
  if (target === undefined) {
    throw new RepositoryError("not-found", `no image ${name}`);
  }
  const entry = baseName(target);
  const linked = imageEntry(linux, root, hash, entry);
  if (linked !== undefined) return linked;
  throw new RepositoryError("not-found", `no image ${entry}, which ${name} refers to`);
}

/** The digest of the entry `images/<hex>`, which is the one in its name. */
function imageEntry(linux: Linux, root: Fd, hash: HashName, entry: string): Uint8Array | undefined {
  const path = entryPath("images", entry);
  const target = readLink(linux, root, path);
  if (target === undefined) return undefined;
  const digest = digestOfHex(entry, hash);
  const linked = digestOfTarget(target, hash);
  if (digest === undefined) {
    throw new RepositoryError("corrupt", `${path} has no ${hash} digest as its name`);
  }
  if (linked === undefined || !sameDigest(linked, digest)) {
    throw new RepositoryError("corrupt", `${path} leads to another object, ${target}`);
  }
  return digest;
}
