/**
 * Image references: where an image comes from.
 *
 *   oci:DIRECTORY[:TAG]                           an OCI image layout on disk
 *   docker://HOST[:PORT]/NAME[:TAG][@DIGEST]      a registry
 *
 * `docker://` follows the reference grammar that containers' tools share: without a host it is docker.io, there a name
 * of one component is below `library/`, and without tag and digest the tag is `latest`.
 */

/** An image layout directory. Without a tag: its only image, or the one for the platform. */
export interface LayoutReference {
  readonly transport: "oci";
  /** As it was given; also the name that the image gets when it is given no other. */
  readonly source: string;
  readonly directory: string;
  readonly tag: string | undefined;
}

export interface RegistryReference {
  readonly transport: "docker";
  readonly source: string;
  /** Host with optional port, as it is written in references: `docker.io`, `localhost:5000`, `[::1]:5000`. */
  readonly registry: string;
  /** `library/debian` */
  readonly repository: string;
  readonly tag: string | undefined;
  /** Decides when it is given, also next to a tag. */
  readonly digest: string | undefined;
}

export type Reference = LayoutReference | RegistryReference;

const LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?";
const HOST = new RegExp(`^(?:${LABEL}(?:\\.${LABEL})*|\\[[0-9a-fA-F:.]+\\])(?::([0-9]{1,5}))?$`);
const COMPONENT = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const TAG = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;
const DIGEST = /^sha256:[0-9a-f]{64}$/;
const NAME_LIMIT = 255;

/**
 * Parses a reference.
 *
 * Throws an error that says what was expected where the text is not one.
 */
export function parseReference(text: string): Reference {
  try {
    if (text.startsWith("docker://")) return parseRegistry(text, text.slice("docker://".length));
    if (text.startsWith("oci:")) return parseLayout(text, text.slice("oci:".length));
  } catch (error) {
    throw new Error(`image reference ${JSON.stringify(text)}`, { cause: error });
  }
  throw new Error(
    `image reference ${JSON.stringify(text)}: expected oci:DIRECTORY[:TAG] or docker://HOST/NAME[:TAG][@DIGEST]`,
  );
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

function parseRegistry(source: string, rest: string): RegistryReference {
  const at = rest.indexOf("@");
  const digest = at < 0 ? undefined : rest.slice(at + 1);
  if (digest !== undefined && !DIGEST.test(digest))
    throw new Error(
      `digest ${JSON.stringify(digest)}: expected sha256: and 64 lower-case hex digits`,
    );

  const named = at < 0 ? rest : rest.slice(0, at);
  const colon = named.lastIndexOf(":");
  const hasTag = colon >= 0 && !named.includes("/", colon);
  const tag = hasTag ? named.slice(colon + 1) : undefined;
  if (tag !== undefined && !TAG.test(tag))
    throw new Error(
      `tag ${JSON.stringify(tag)}: expected 1 to 128 letters, digits, _, . and -, the first a letter, digit or _`,
    );

  const { registry, repository } = splitHost(hasTag ? named.slice(0, colon) : named);
  if (registry.length + 1 + repository.length > NAME_LIMIT)
    throw new Error(`expected a name of at most ${NAME_LIMIT} characters`);
  return {
    transport: "docker",
    source,
    registry,
    repository,
    tag: tag === undefined && digest === undefined ? "latest" : tag,
    digest,
  };
}

/** The first component is a host if it cannot be part of a name: with a dot, a colon, an upper-case letter, or localhost. */
function splitHost(name: string): { registry: string; repository: string } {
  const slash = name.indexOf("/");
  const first = slash < 0 ? "" : name.slice(0, slash);
  const isHost = /[.:A-Z]/.test(first) || first === "localhost";
  let registry = isHost ? first : "docker.io";
  let repository = isHost ? name.slice(slash + 1) : name;

  const port = HOST.exec(registry);
  if (port === null || Number(port[1] ?? 1) === 0 || !URL.canParse(`https://${registry}/`))
    throw new Error(`host ${JSON.stringify(registry)}: expected HOST or HOST:PORT`);
  if (registry === "index.docker.io") registry = "docker.io";
  if (repository === "") throw new Error("expected the name of an image");
  if (registry === "docker.io" && !repository.includes("/")) repository = `library/${repository}`;
  for (const component of repository.split("/")) {
    if (!COMPONENT.test(component))
      throw new Error(
        `name ${JSON.stringify(repository)}: expected lower-case letters and digits, separated by ".", "_", "__", "-" or "/"`,
      );
  }
  return { registry, repository };
}
