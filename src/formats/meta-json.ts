/**
 * `meta.json`, which says what a repository is: hash, features, formats of its images. Written byte for byte as
 * composefs-rs does (its `repository` module), since the file has an fs-verity digest of its own.
 */
import type { HashName } from "./digest.ts";

/** EROFS formats that composefs images come in. */
export type ErofsFormat = 0 | 1 | 2;

export interface Features {
  /** Whoever does not know one of these may still read and write. */
  readonly compatible: readonly string[];
  /** Whoever does not know one of these may read. */
  readonly readOnlyCompatible: readonly string[];
  /** Whoever does not know one of these must leave the repository alone. */
  readonly incompatible: readonly string[];
}

export interface Metadata {
  readonly hash: HashName;
  readonly features: Features;
  /** `erofs_formats` as written in the file, if it is there. What counts is `effectiveFormats`. */
  readonly erofsFormats?: ErofsFormats;
}

export interface ErofsFormats {
  readonly default: ErofsFormat;
  /** Further formats that every image is written in; without `default`. */
  readonly extra: readonly ErofsFormat[];
}

/** The file is well-formed, but of a repository that this program must leave alone. */
export class UnsupportedMetadata extends Error {
  override readonly name = "UnsupportedMetadata";
}

const VERSION = 1;
const V1_EROFS = "v1_erofs";
const LG_BLOCK_SIZE = 12;

/** The features that this program knows. */
const KNOWN: Features = { compatible: [], readOnlyCompatible: [V1_EROFS], incompatible: [] };

/** Metadata of a new repository. */
export function newMetadata(
  hash: HashName,
  format: ErofsFormat,
  extra: readonly ErofsFormat[] = [],
): Metadata {
  return {
    hash,
    // Programs from before V1 images must not write here if those are what the repository holds.
    features: {
      compatible: [],
      readOnlyCompatible: format === 1 ? [V1_EROFS] : [],
      incompatible: [],
    },
    erofsFormats: {
      default: format,
      extra: [...new Set(extra)].filter((other) => other !== format).sort(),
    },
  };
}

/**
 * The formats that images are written in. A file without the field, or with the plain default of 2, is from before there
 * was a choice, or was written by a program that knew the feature flag only: then the flag decides.
 */
export function effectiveFormats(metadata: Metadata): ErofsFormats {
  const formats = metadata.erofsFormats;
  if (formats !== undefined && (formats.default !== 2 || formats.extra.length > 0)) return formats;
  const v1 = metadata.features.readOnlyCompatible.includes(V1_EROFS);
  return { default: v1 ? 1 : 2, extra: [] };
}

/** Features that this program does not know and that keep it from writing. */
export function unknownReadOnlyFeatures(metadata: Metadata): string[] {
  return metadata.features.readOnlyCompatible.filter(
    (name) => !KNOWN.readOnlyCompatible.includes(name),
  );
}

/** The name of a hash with the block size of composefs: `fsverity-sha512-12`. */
export function algorithmName(hash: HashName): string {
  return `fsverity-${hash}-${LG_BLOCK_SIZE}`;
}

/** Reads `fsverity-<hash>-<log2 of the block size>`. */
export function parseAlgorithm(text: string): HashName {
  const fail = (why: string) => new Error(`algorithm ${JSON.stringify(text)}: ${why}`);
  const prefix = "fsverity-";
  if (!text.startsWith(prefix)) throw fail(`"${prefix}" expected at its start`);
  const rest = text.slice(prefix.length);
  const dash = rest.lastIndexOf("-");
  if (dash < 0) throw fail('"-" and a block size expected after the hash');
  const blockSize = rest.slice(dash + 1);
  if (!/^\+?[0-9]+$/.test(blockSize) || Number(blockSize) > 255) {
    throw fail(`block size is not a number of 0..255`);
  }
  if (Number(blockSize) !== LG_BLOCK_SIZE) throw fail(`only block size ${LG_BLOCK_SIZE} is known`);
  const hash = rest.slice(0, dash);
  if (hash !== "sha256" && hash !== "sha512") throw fail("sha256 or sha512 expected");
  return hash;
}

/** The bytes of the file as text (all ASCII but for foreign feature names). */
export function serializeMetadata(metadata: Metadata): string {
  const { features, erofsFormats } = metadata;
  const json = {
    version: VERSION,
    algorithm: algorithmName(metadata.hash),
    features: {
      compatible: features.compatible,
      "read-only-compatible": features.readOnlyCompatible,
      incompatible: features.incompatible,
    },
    ...(erofsFormats && {
      erofs_formats: {
        default: erofsFormats.default,
        ...(erofsFormats.extra.length > 0 && { extra: [...erofsFormats.extra].sort() }),
      },
    }),
  };
  return `${JSON.stringify(json, null, 2)}\n`;
}

/**
 * Reads the file's text; unknown fields are ignored. Throws `UnsupportedMetadata` if this program must not use such a
 * repository.
 */
export function parseMetadata(text: string): Metadata {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new Error("not JSON", { cause: error });
  }
  const file = object(json, "the file");
  const version = file.version;
  if (typeof version !== "number" || !Number.isInteger(version) || version < 0) {
    throw new Error('"version": a number expected');
  }
  if (version > VERSION) {
    throw new UnsupportedMetadata(`version ${version} is newer than ${VERSION}`);
  }
  if (typeof file.algorithm !== "string") throw new Error('"algorithm": a string expected');
  const hash = parseAlgorithm(file.algorithm);
  const features = parseFeatures(file.features ?? {});
  const unknown = features.incompatible.filter((name) => !KNOWN.incompatible.includes(name));
  if (unknown.length > 0) {
    throw new UnsupportedMetadata(`needs unknown features: ${unknown.join(", ")}`);
  }
  if (file.erofs_formats === undefined || file.erofs_formats === null) return { hash, features };
  return { hash, features, erofsFormats: parseFormats(file.erofs_formats) };
}

function parseFeatures(json: unknown): Features {
  const features = object(json, '"features"');
  const list = (name: string): string[] => {
    const value = features[name] ?? [];
    if (!Array.isArray(value) || !value.every((item) => typeof item === "string")) {
      throw new Error(`"features.${name}": a list of strings expected`);
    }
    return value;
  };
  return {
    compatible: list("compatible"),
    readOnlyCompatible: list("read-only-compatible"),
    incompatible: list("incompatible"),
  };
}

function parseFormats(json: unknown): ErofsFormats {
  const formats = object(json, '"erofs_formats"');
  const extra = formats.extra ?? [];
  if (!Array.isArray(extra)) throw new Error('"erofs_formats.extra": a list expected');
  return {
    default: format(formats.default, "default"),
    extra: [...new Set(extra.map((item) => format(item, "extra")))].sort(),
  };
}

function format(json: unknown, name: string): ErofsFormat {
  if (json === 0 || json === 1 || json === 2) return json;
  throw new Error(`"erofs_formats.${name}": 0, 1 or 2 expected`);
}

function object(json: unknown, what: string): Record<string, unknown> {
  if (typeof json === "object" && json !== null && !Array.isArray(json)) {
    return json as Record<string, unknown>;
  }
  throw new Error(`${what}: an object expected`);
}
