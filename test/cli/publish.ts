/** Puts an image where a test's machine gets its upgrades from. */
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type OsImage, osLayer } from "../deployment/machine.ts";
import { image, writeLayout } from "../oci/fixtures/images.ts";

/** Publishes it in place of the one before; returns the name that comes after `oci:`. */
export function publishIn(
  directory: string,
  os: OsImage,
  compression: "gzip" | "zstd" = "gzip",
): string {
  const layout = join(directory, "published");
  rmSync(layout, { recursive: true, force: true });
  mkdirSync(layout);
  writeLayout(layout, [{ image: image([{ tar: osLayer(os), compression }]), tag: "os" }]);
  return `${layout}:os`;
}
