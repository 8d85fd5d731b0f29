/**
 * Where in registries an image is, by the grammar of names that containers' tools share: without a host it is docker.io,
 * there a name of one component is below `library/`, and without tag and digest the tag is `latest`.
 */

/** Where in registries an image is. */
export interface RegistryLocation {
  /** Host with optional port, as it is written in references: `docker.io`, `localhost:5000`, `[::1]:5000`. */
  readonly registry: string;
  /** `library/debian` */
  readonly repository: string;
  readonly tag: string | undefined;
  /** Decides when it is given, also next to a tag. */
  readonly digest: string | undefined;
}

const LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?";
const HOST = new RegExp(`^(?:${LABEL}(?:\\.${LABEL})*|\\[[0-9a-fA-F:.]+\\])(?::([0-9]{1,5}))?$`);
const COMPONENT = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const TAG = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;
/** What an image's digest looks like. */
export const DIGEST = /^sha256:[0-9a-f]{64}$/;
const NAME_LIMIT = 255;
/** Longer than a name with its tag and digest, all at their longest. */
const LOCATION_LIMIT = 512;
const SHOWN = 500;

/** Parses `[HOST[:PORT]/]NAME[:TAG][@DIGEST]`. */
export function parseLocation(text: string): RegistryLocation {
  // before patterns are tried on it
  if (text.length > LOCATION_LIMIT)
    throw new Error(`expected a name of at most ${NAME_LIMIT} characters`);
  const at = text.indexOf("@");
  const digest = at < 0 ? undefined : text.slice(at + 1);
  if (digest !== undefined && !DIGEST.test(digest))
    throw new Error(`digest ${quote(digest)}: expected sha256: and 64 lower-case hex digits`);

  const named = at < 0 ? text : text.slice(0, at);
  const colon = named.lastIndexOf(":");
  const hasTag = colon >= 0 && !named.includes("/", colon);
  const tag = hasTag ? named.slice(colon + 1) : undefined;
  if (tag !== undefined && !TAG.test(tag))
    throw new Error(
      `tag ${quote(tag)}: expected 1 to 128 letters, digits, _, . and -, the first a letter, digit or _`,
    );

  const { registry, repository } = splitHost(hasTag ? named.slice(0, colon) : named);
  if (registry.length + 1 + repository.length > NAME_LIMIT)
    throw new Error(`expected a name of at most ${NAME_LIMIT} characters`);
  return {
    registry,
    repository,
    tag: tag === undefined && digest === undefined ? "latest" : tag,
    digest,
  };
}

/** The location in full, as configuration files have it: `docker.io/library/debian:latest`. */
export function formatLocation({ registry, repository, tag, digest }: RegistryLocation): string {
  const suffix = `${tag === undefined ? "" : `:${tag}`}${digest === undefined ? "" : `@${digest}`}`;
  return `${registry}/${repository}${suffix}`;
}

/** Whether a name begins with a host: its first component cannot be part of a name. */
export function beginsWithHost(name: string): boolean {
  const slash = name.indexOf("/");
  const first = slash < 0 ? "" : name.slice(0, slash);
  return /[.:A-Z]/.test(first) || first === "localhost";
}

function splitHost(name: string): { registry: string; repository: string } {
  const slash = name.indexOf("/");
  const hasHost = beginsWithHost(name);
  let registry = hasHost ? name.slice(0, slash) : "docker.io";
  let repository = hasHost ? name.slice(slash + 1) : name;

  const port = HOST.exec(registry);
  if (port === null || Number(port[1] ?? 1) === 0 || !URL.canParse(`https://${registry}/`))
    throw new Error(`host ${quote(registry)}: expected HOST or HOST:PORT`);
  if (registry === "index.docker.io") registry = "docker.io";
  if (repository === "") throw new Error("expected the name of an image");
  if (registry === "docker.io" && !repository.includes("/")) repository = `library/${repository}`;
  for (const component of repository.split("/")) {
    if (!COMPONENT.test(component))
      throw new Error(
        `name ${quote(repository)}: expected lower-case letters and digits, separated by ".", "_", "__", "-" or "/"`,
      );
  }
  return { registry, repository };
}

/** A text for messages, or the beginning of a long one. */
export function quote(text: string): string {
  const quoted = JSON.stringify(text);
  return quoted.length > SHOWN ? `${quoted.slice(0, SHOWN)}…` : quoted;
}
