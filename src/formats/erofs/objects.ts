/** The objects that an image needs. */
import { type ByteString, fromBytes } from "../bytestring.ts";
import { digestOfObjectPath } from "../digest.ts";
import { ErofsImage } from "./image.ts";
import { parseMetacopy } from "./metacopy.ts";
import { walk } from "./walk.ts";
import { XATTR } from "./xattr-names.ts";

/**
 * The digests of all objects that files of the image refer to, each once: by the digest that the content must have, or
 * by the path where overlayfs looks for it. A damaged image is an error, as for `readErofs`; values that name no object
 * are passed over.
 */
export function erofsObjects(bytes: Uint8Array): Uint8Array[] {
  const objects = new Map<ByteString, Uint8Array>();
  const add = (digest: Uint8Array | undefined) => {
    if (digest !== undefined) objects.set(fromBytes(digest), digest);
  };
  for (const { inode, first } of walk(new ErofsImage(bytes))) {
    if (!first) continue;
    for (const { name, value } of inode.xattrs) {
      if (name === XATTR.metacopy) add(parseMetacopy(value));
      else if (name === XATTR.redirect) add(digestOfObjectPath(fromBytes(value)));
    }
  }
  return [...objects.values()];
}
