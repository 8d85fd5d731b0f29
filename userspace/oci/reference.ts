/**
 * Image references: where an image comes from.
 *
 *   docker://HOST[:PORT]/NAME[:TAG][@DIGEST]      a registry
 *   oci:DIRECTORY[:TAG]                           an OCI image layout on disk
 *   oci-archive:FILE[:TAG]                        one in a tar archive
 *   docker-archive:FILE[:NAME[:TAG]|:@INDEX]      what docker save writes
 *   dir:DIRECTORY                                 a directory as skopeo writes it
 *   containers-storage:[STORE]NAME[:TAG][@DIGEST] what podman keeps on this machine
 *   docker-daemon:…                               what only skopeo reads
 *
 * What follows `docker://` is a location.
 */
import { DIGEST, formatLocation, parseLocation, quote, type RegistryLocation } from "./location.ts";

export interface RegistryReference extends RegistryLocation {
  readonly transport: "docker";
  /** As it was given; also the name that the image gets when it is given no other. */
  readonly source: string;
}

/** An image layout directory. Without a tag: its only image, or the one for the platform. */
export interface LayoutReference {
  readonly transport: "oci";
  readonly source: string;
  readonly directory: string;
  readonly tag: string | undefined;
}

/** An image layout in a tar archive. */
export interface LayoutArchiveReference {
  readonly transport: "oci-archive";
  readonly source: string;
  readonly file: string;
  readonly tag: string | undefined;
}

/** What `docker save` writes. With neither name nor index: its only image. */
export interface DockerArchiveReference {
  readonly transport: "docker-archive";
  readonly source: string;
  readonly file: string;
  /** `docker.io/library/debian:latest`, always with host and tag. */
  readonly name: string | undefined;
  /** Place in the archive, from 0. */
  readonly index: number | undefined;
}

/** One image as files of a directory, as skopeo writes them. */
export interface DirectoryReference {
  readonly transport: "dir";
  readonly source: string;
  readonly directory: string;
}

/** Which of a machine's stores, instead of the one that its configuration names. */
export interface StoreSpecifier {
  readonly driver: string | undefined;
  readonly graphRoot: string;
  /** `key=value` */
  readonly options: readonly string[];
}

/** An image in containers' storage. A name and an ID must be of the same image. */
export interface StorageReference {
  readonly transport: "containers-storage";
  readonly source: string;
  readonly store: StoreSpecifier | undefined;
  readonly location: RegistryLocation | undefined;
  /** The image's, or how it begins: hex digits. */
  readonly id: string | undefined;
  /** The name may be the beginning of an ID as well. */
  readonly maybeId: string | undefined;
}

/** An image that another program has to be asked for. */
export interface ForeignReference {
  readonly transport: "docker-daemon";
  readonly source: string;
}

export type Reference =
  | RegistryReference
  | LayoutReference
  | LayoutArchiveReference
  | DockerArchiveReference
  | DirectoryReference
  | StorageReference
  | ForeignReference;

/** What there is, for help and messages. */
export const REFERENCE_FORMS =
  "docker://HOST/NAME[:TAG][@DIGEST], oci:DIRECTORY[:TAG], oci-archive:FILE[:TAG], " +
  "docker-archive:FILE[:NAME|:@INDEX], dir:DIRECTORY, containers-storage:[STORE]NAME or docker-daemon:NAME";

const INDEX = /^@(0|[1-9][0-9]{0,5})$/;
/** Longer than a path and a name in the archive there. */
const REFERENCE_LIMIT = 8192;

/** What stands behind `TRANSPORT:`, by transport. */
const PARSERS: Readonly<Record<string, (source: string, rest: string) => Reference>> = {
  docker: parseRegistry,
  oci: parseLayout,
  "oci-archive": parseLayoutArchive,
  "docker-archive": parseDockerArchive,
  dir: parseDirectory,
  "containers-storage": parseStorage,
  "docker-daemon": parseDaemon,
};

/**
 * Parses a reference.
 *
 * Throws an error that says what was expected where the text is not one.
 */
export function parseReference(text: string): Reference {
  if (text.length > REFERENCE_LIMIT)
    throw new Error(
      `image reference of ${text.length} characters: expected at most ${REFERENCE_LIMIT}`,
    );
  const colon = text.indexOf(":");
  const transport = text.slice(0, Math.max(0, colon));
  const parse = Object.hasOwn(PARSERS, transport) ? PARSERS[transport] : undefined;
  if (parse === undefined)
    throw new Error(`image reference ${quote(text)}: expected ${REFERENCE_FORMS}`);
  try {
    return parse(text, text.slice(colon + 1));
  } catch (error) {
    throw new Error(`image reference ${quote(text)}`, { cause: error });
  }
}

/** Whether a text begins like a reference: with a transport that there is. */
export function hasTransport(text: string): boolean {
  return Object.hasOwn(PARSERS, text.slice(0, Math.max(0, text.indexOf(":"))));
}

/** The last colon separates the tag, unless a slash follows it. */
function parseLayout(source: string, rest: string): LayoutReference {
  const colon = rest.lastIndexOf(":");
  const hasTag = colon >= 0 && !rest.includes("/", colon);
  const directory = hasTag ? rest.slice(0, colon) : rest;
  const tag = hasTag ? rest.slice(colon + 1) : undefined;
  if (directory === "") throw new Error("expected a directory after oci:");
  if (tag === "") throw new Error("expected a tag after the last colon");
  return { transport: "oci", source, directory, tag };
}

/** The first colon separates the tag, which may be a whole name with host, colons and slashes. */
function parseLayoutArchive(source: string, rest: string): LayoutArchiveReference {
  const [file, tag] = splitFile(rest);
  if (tag === "") throw new Error("expected a tag after the colon");
  return { transport: "oci-archive", source, file, tag };
}

function parseDockerArchive(source: string, rest: string): DockerArchiveReference {
  const [file, image] = splitFile(rest);
  const which = { name: undefined, index: undefined };
  if (image === undefined) return { transport: "docker-archive", source, file, ...which };
  if (image.startsWith("@")) {
    const index = INDEX.exec(image)?.[1];
    if (index === undefined)
      throw new Error(`expected @ and a number from 0, found ${quote(image)}`);
    return { transport: "docker-archive", source, file, ...which, index: Number(index) };
  }
  const location = parseLocation(image);
  if (location.digest !== undefined) throw new Error("expected a name without a digest");
  return { transport: "docker-archive", source, file, ...which, name: formatLocation(location) };
}

function splitFile(rest: string): [file: string, image: string | undefined] {
  const colon = rest.indexOf(":");
  const file = colon < 0 ? rest : rest.slice(0, colon);
  if (file === "") throw new Error("expected a file after the transport");
  return [file, colon < 0 ? undefined : rest.slice(colon + 1)];
}

function parseDirectory(source: string, rest: string): DirectoryReference {
  if (rest === "") throw new Error("expected a directory after dir:");
  return { transport: "dir", source, directory: rest };
}

function parseDaemon(source: string, rest: string): ForeignReference {
  if (rest === "") throw new Error("expected the name of an image after docker-daemon:");
  return { transport: "docker-daemon", source };
}

const IMAGE_ID = /^[0-9a-f]{3,64}$/;
const FULL_IMAGE_ID = /^[0-9a-f]{64}$/;

/** `[STORE]NAME[:TAG][@DIGEST][@ID]`, `[STORE]@ID` or, where there is such an image, `[STORE]ID`. */
function parseStorage(source: string, rest: string): StorageReference {
  const end = rest.startsWith("[") ? rest.indexOf("]") : -1;
  if (rest.startsWith("[") && end < 0) throw new Error("expected ] after the store");
  const store = end < 0 ? undefined : parseStore(rest.slice(1, end));
  const image = rest.slice(end + 1);
  const transport = "containers-storage";
  if (image === "") throw new Error("expected the name or ID of an image");

  const at = image.lastIndexOf("@");
  const last = image.slice(at + 1);
  if (at >= 0 && !DIGEST.test(last)) {
    if (!IMAGE_ID.test(last))
      throw new Error(`${quote(last)}: expected a digest, sha256:…, or hex digits of an ID`);
    const location = at === 0 ? undefined : parseLocation(image.slice(0, at));
    return { transport, source, store, location, id: last, maybeId: undefined };
  }
  // no name is that long and of hex digits only
  if (FULL_IMAGE_ID.test(image))
    return { transport, source, store, location: undefined, id: image, maybeId: undefined };
  const maybeId = IMAGE_ID.test(image) ? image : undefined;
  return { transport, source, store, location: parseLocation(image), id: undefined, maybeId };
}

/** `[DRIVER@]ROOT[+RUNROOT][:OPTION,…]` */
function parseStore(text: string): StoreSpecifier {
  const at = text.indexOf("@");
  const driver = at < 0 ? undefined : text.slice(0, at);
  if (driver === "") throw new Error("expected a driver before @");
  const [places = "", ...options] = text.slice(at + 1).split(":");
  const [graphRoot = "", ...runRoot] = places.split("+");
  for (const path of [graphRoot, ...runRoot])
    if (!path.startsWith("/")) throw new Error(`store ${quote(path)}: expected an absolute path`);
  const list = options.join(":");
  return { driver, graphRoot, options: list === "" ? [] : list.split(",") };
}

function parseRegistry(source: string, rest: string): RegistryReference {
  if (!rest.startsWith("//")) throw new Error("expected docker://");
  return { transport: "docker", source, ...parseLocation(rest.slice(2)) };
}
