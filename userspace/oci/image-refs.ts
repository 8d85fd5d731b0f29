/** Names under which the stream of a config refers to the filesystem images that were made of it. */
import type { ErofsFormat } from "../../src/formats/meta-json.ts";
import type { XattrMode } from "../../src/model/transform.ts";
import { IMAGE_REF_PREFIX } from "./document-streams.ts";

export function imageRef(format: ErofsFormat, bootable: boolean, xattrs: XattrMode): string {
  const boot = bootable ? ".boot" : "";
  // Formats 0 and 1 are two versions of one layout, and the same name is for both.
  const epoch = format === 2 ? "" : ".v1";
  const mode = bootable && xattrs !== "allowlist-only" ? `.xattrs=${xattrs}` : "";
  return IMAGE_REF_PREFIX + boot + epoch + mode;
}

/** Whether a name in a config's stream is that of an image; the others are layers. */
export function isImageRef(name: string): boolean {
  return (
    name === IMAGE_REF_PREFIX ||
    name === `${IMAGE_REF_PREFIX}.v1` ||
    name.startsWith(`${IMAGE_REF_PREFIX}.boot`)
  );
}
