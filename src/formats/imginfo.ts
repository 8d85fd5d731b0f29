/**
 * `<id>.imginfo` in the state directory of a deployment that an early release of bootc made: the image's config and
 * manifest as JSON. Since then the origin names the manifest, and the repository has both.
 */
import { parseJson } from "./json-document.ts";

export interface ImageInfo {
  /** The values as they are in the file; their bytes in the image were others. */
  readonly manifest: Readonly<Record<string, unknown>>;
  readonly config: Readonly<Record<string, unknown>>;
  /** What the manifest says the image's version is. */
  readonly version: string | undefined;
  /** When the image was made, as the config has it (RFC 3339). */
  readonly created: string | undefined;
  readonly architecture: string | undefined;
  /** `sha256:…` of the config, which is what the image is in the repository by. */
  readonly configDigest: string | undefined;
}

const MAX_SIZE = 8 << 20;

/** Reads a file. Throws an error that names `file` and the field. */
export function parseImageInfo(bytes: Uint8Array, file: string): ImageInfo {
  const json = parseJson(bytes, file, MAX_SIZE);
  const manifest = json.object("manifest");
  const config = json.object("config");
  const version = manifest
    .optionalObject("annotations")
    ?.optionalString("org.opencontainers.image.version");
  return {
    manifest: manifest.value,
    config: config.value,
    version,
    created: config.optionalString("created"),
    architecture: config.optionalString("architecture"),
    configDigest: manifest.optionalObject("config")?.optionalString("digest"),
  };
}
