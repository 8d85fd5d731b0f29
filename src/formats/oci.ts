/**
 * Documents of the OCI image specification (image-spec 1.1: manifest.md, image-index.md, config.md) and of its Docker
 * ancestors, as far as they say what an image consists of. The bytes themselves are kept as they were received.
 */
import { type JsonObject, parseJson } from "./json-document.ts";

/** Media types that tell kinds of documents apart. Layers have theirs elsewhere: see how they are decompressed. */
export const MEDIA_TYPES = {
  manifest: "application/vnd.oci.image.manifest.v1+json",
  index: "application/vnd.oci.image.index.v1+json",
  config: "application/vnd.oci.image.config.v1+json",
  dockerManifest: "application/vnd.docker.distribution.manifest.v2+json",
  dockerIndex: "application/vnd.docker.distribution.manifest.list.v2+json",
  dockerConfig: "application/vnd.docker.container.image.v1+json",
} as const;

const MANIFEST_TYPES: readonly string[] = [MEDIA_TYPES.manifest, MEDIA_TYPES.dockerManifest];
const INDEX_TYPES: readonly string[] = [MEDIA_TYPES.index, MEDIA_TYPES.dockerIndex];
const CONFIG_TYPES: readonly string[] = [MEDIA_TYPES.config, MEDIA_TYPES.dockerConfig];

/** Largest manifest or index, in bytes: what registries accept. */
export const MAX_MANIFEST = 4 << 20;
/** Largest config, in bytes: labels and the history may be long. */
export const MAX_CONFIG = 16 << 20;

/** What an image runs on, in the words of Go: `linux`, `amd64`. */
export interface ImagePlatform {
  readonly os: string;
  readonly architecture: string;
  /** `v8`; `undefined`: the architecture's first one. */
  readonly variant?: string | undefined;
}

/** Names a blob. */
export interface Descriptor {
  readonly mediaType: string;
  /** `sha256:` and 64 lower-case hex digits. */
  readonly digest: string;
  /** In bytes. */
  readonly size: number;
  readonly annotations: Readonly<Record<string, string>>;
  readonly platform: ImagePlatform | undefined;
}

export interface ImageManifest {
  /** As the document states it, which it need not. */
  readonly mediaType: string | undefined;
  /** What kind of artifact it is, where its config does not say. */
  readonly artifactType: string | undefined;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
  /** The image that it says something about: a signature's, an attestation's. */
  readonly subject: Descriptor | undefined;
  readonly annotations: Readonly<Record<string, string>>;
}

export interface ImageIndex {
  readonly manifests: readonly Descriptor[];
}

export interface ImageConfig {
  readonly os: string;
  readonly architecture: string;
  readonly variant: string | undefined;
  /** As it is written, RFC 3339 if the writer kept to the rules. */
  readonly created: string | undefined;
  readonly labels: ReadonlyMap<string, string>;
  /** Digests of the layers' uncompressed tars, the lowest first. */
  readonly diffIds: readonly string[];
}

const SHA256 = /^sha256:[0-9a-f]{64}$/;

/** Whether a text is a digest of the one kind that is understood here. Such a text is a safe file name. */
export function isDigest(text: string): boolean {
  return SHA256.test(text);
}

/** Whether an image is a container's; otherwise it is an artifact, whose layers are anything. */
export function isContainerImage(manifest: ImageManifest): boolean {
  return CONFIG_TYPES.includes(manifest.config.mediaType);
}

/** What kind of artifact a manifest is. */
export function artifactType({ artifactType: type, config }: ImageManifest): string {
  return type || config.mediaType;
}

/** The media type that a manifest is handed out with: its own, or the one that goes with its config's. */
export function manifestMediaType({ mediaType, config }: ImageManifest): string {
  const docker = config.mediaType === MEDIA_TYPES.dockerConfig;
  return mediaType ?? (docker ? MEDIA_TYPES.dockerManifest : MEDIA_TYPES.manifest);
}

/**
 * Whether a document is an index, not a manifest: by its media type as the transport or else the document states it,
 * or else by what it holds. Whatever it claims to be, its parser is the one that decides.
 */
export function isIndex(bytes: Uint8Array, mediaType: string | undefined): boolean {
  const type = mediaType?.replace(/;.*/s, "").trim();
  if (type !== undefined && INDEX_TYPES.includes(type)) return true;
  if (type !== undefined && MANIFEST_TYPES.includes(type)) return false;
  const document = parseJson(bytes, "manifest", MAX_MANIFEST);
  const own = document.optionalString("mediaType");
  if (own !== undefined) return INDEX_TYPES.includes(own);
  return document.has("manifests");
}

/** Parses a manifest; errors begin with `name` and name the field. */
export function parseManifest(bytes: Uint8Array, name: string): ImageManifest {
  const document = parseVersioned(bytes, name, MANIFEST_TYPES);
  if (document.has("manifests")) document.fail("manifests", "not expected in a manifest");
  const subject = document.optionalObject("subject");
  return {
    mediaType: document.optionalString("mediaType"),
    artifactType: document.optionalString("artifactType"),
    config: parseDescriptor(document.object("config")),
    layers: document.objects("layers").map(parseDescriptor),
    subject: subject && parseDescriptor(subject),
    annotations: record(document.stringMap("annotations")),
  };
}

/** Parses an index (a list of manifests, for several platforms); errors begin with `name` and name the field. */
export function parseIndex(bytes: Uint8Array, name: string): ImageIndex {
  const document = parseVersioned(bytes, name, INDEX_TYPES);
  for (const key of ["config", "layers"]) {
    if (document.has(key)) document.fail(key, "not expected in an index");
  }
  return { manifests: document.objects("manifests").map(parseDescriptor) };
}

/** Parses the config of a container image; errors begin with `name` and name the field. */
export function parseConfig(bytes: Uint8Array, name: string): ImageConfig {
  const document = parseJson(bytes, name, MAX_CONFIG);
  const rootfs = document.object("rootfs");
  if (rootfs.string("type") !== "layers") rootfs.fail("type", 'expected "layers"');
  const diffIds = rootfs.strings("diff_ids");
  diffIds.forEach((digest, i) => {
    checkDigest(digest, rootfs, `diff_ids[${i}]`);
  });
  return {
    os: document.string("os"),
    architecture: document.string("architecture"),
    variant: document.optionalString("variant"),
    created: document.optionalString("created"),
    labels: document.optionalObject("config")?.stringMap("Labels") ?? new Map(),
    diffIds,
  };
}

/** The variant that an architecture without one stands for. */
const BASELINE: ReadonlyMap<string, string> = new Map([
  ["amd64", "v1"],
  ["arm64", "v8"],
  ["arm", "v7"],
]);

/** Parses `linux/arm64/v8`, `linux/amd64`. */
export function parsePlatform(text: string): ImagePlatform {
  const match = /^([a-z0-9]+)\/([a-z0-9_]+)(?:\/([a-z0-9.]+))?$/.exec(text);
  if (match === null) {
    throw new Error(
      `platform ${JSON.stringify(text)}: expected OS/ARCHITECTURE[/VARIANT], like linux/arm64`,
    );
  }
  return { os: match[1]!, architecture: match[2]!, variant: match[3] };
}

/** A platform as `parsePlatform` reads it. */
export function formatPlatform({ os, architecture, variant }: ImagePlatform): string {
  return [os, architecture, ...(variant === undefined ? [] : [variant])].join("/");
}

/** The annotation of a descriptor in an image layout's index that is its tag. */
export const TAG_ANNOTATION = "org.opencontainers.image.ref.name";

/** The tags of the images in an index, for a message: the first of them, if they are many. */
export function tagsOf(manifests: readonly Descriptor[]): string {
  const tags = manifests.flatMap(({ annotations }) => annotations[TAG_ANNOTATION] ?? []);
  return tags.slice(0, 10).join(", ");
}

/**
 * The image for a platform: of its own variant, which is the architecture's first one where none is stated.
 * The only image of an index that states no platform is the one for every platform; of several, tags tell them apart.
 */
export function chooseManifest(index: ImageIndex, platform: ImagePlatform): Descriptor {
  const { manifests } = index;
  const only = manifests[0];
  if (only !== undefined && manifests.length === 1 && only.platform === undefined) return only;
  const chosen = manifests.find(
    (candidate) => candidate.platform !== undefined && samePlatform(candidate.platform, platform),
  );
  if (chosen !== undefined) return chosen;
  const tags = tagsOf(manifests);
  if (tags !== "" && manifests.every((candidate) => candidate.platform === undefined))
    throw new Error(`several images, expected one of the tags ${tags}`);
  const names = manifests.map((m) =>
    m.platform === undefined ? "any" : formatPlatform(m.platform),
  );
  const available = [...new Set(names)].slice(0, 20).join(", ");
  throw new Error(
    `no image for ${formatPlatform(platform)}${available === "" ? ", nor for any other platform" : `, only for ${available}`}`,
  );
}

function parseVersioned(bytes: Uint8Array, name: string, types: readonly string[]): JsonObject {
  const document = parseJson(bytes, name, MAX_MANIFEST);
  if (document.size("schemaVersion") !== 2) document.fail("schemaVersion", "expected 2");
  const mediaType = document.optionalString("mediaType");
  if (mediaType !== undefined && !types.includes(mediaType)) {
    document.fail(
      "mediaType",
      `expected ${types.join(" or ")}, found ${JSON.stringify(mediaType)}`,
    );
  }
  return document;
}

function parseDescriptor(object: JsonObject): Descriptor {
  const digest = object.string("digest");
  checkDigest(digest, object, "digest");
  const platform = object.optionalObject("platform");
  return {
    mediaType: object.string("mediaType"),
    digest,
    size: object.size("size"),
    annotations: record(object.stringMap("annotations")),
    platform: platform && {
      os: platform.string("os"),
      architecture: platform.string("architecture"),
      variant: platform.optionalString("variant"),
    },
  };
}

function checkDigest(digest: string, object: JsonObject, key: string): void {
  if (!isDigest(digest)) {
    object.fail(
      key,
      `expected sha256: and 64 lower-case hex digits, found ${JSON.stringify(digest)}`,
    );
  }
}

/** Without a prototype, so that no key is there that the document did not have. */
function record(map: ReadonlyMap<string, string>): Readonly<Record<string, string>> {
  const out: Record<string, string> = Object.create(null);
  for (const [key, value] of map) out[key] = value;
  return out;
}

function samePlatform(a: ImagePlatform, b: ImagePlatform): boolean {
  return a.os === b.os && a.architecture === b.architecture && variantOf(a) === variantOf(b);
}

function variantOf({ architecture, variant }: ImagePlatform): string {
  return variant || (BASELINE.get(architecture) ?? "");
}
