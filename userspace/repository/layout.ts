/** Names and paths inside a repository. Paths are relative to its directory. */
import {
  DIGEST_SIZE,
  fromHex,
  type HashName,
  hashOfHexLength,
  objectPath,
  toHex,
} from "../../src/formats/digest.ts";
import type { LinkKind } from "../../src/model/liveness.ts";
import { RepositoryError } from "./errors.ts";

export const META_JSON = "meta.json";
export const OBJECTS = "objects";
/** Streams whose link is never re-pointed. */
export const LAYER_PREFIX = "oci-layer-";
/** Names of files that an interrupted run can leave behind: in `objects/` or in the repository's directory. */
export const TEMPORARY_OBJECT = ".tmp-object-";
export const TEMPORARY_SYMLINK = ".symlink-";
export const TEMPORARY_METADATA = ".meta.json-";

const REFS = "refs";
const NAME_MAX = 255;
const PATH_MAX = 4095;

export type { LinkKind };

/** `objects/xx/rest` */
export function objectFile(digest: Uint8Array): string {
  return `${OBJECTS}/${objectPath(toHex(digest))}`;
}

/** `streams/<content id>`, `images/<hex>`. Throws for what cannot be one file's name. */
export function entryPath(kind: LinkKind, name: string): string {
  checkComponent(name, name);
  if (name === REFS) throw badName(name, "it is the directory of references");
  return `${kind}/${name}`;
}

/** `streams/refs/<name>`; a name has one or more components. */
export function refPath(kind: LinkKind, name: string): string {
  for (const component of name.split("/")) checkComponent(component, name);
  if (Buffer.byteLength(name) > PATH_MAX) throw badName(name, "it is too long");
  return `${refsDirectory(kind)}/${name}`;
}

/** `streams/refs` */
export function refsDirectory(kind: LinkKind): string {
  return `${kind}/${REFS}`;
}

function checkComponent(component: string, name: string): void {
  if (component === "") throw badName(name, "part of it is empty");
  if (component === "." || component === "..") throw badName(name, `"${component}" is part of it`);
  if (/[/\0]/.test(component)) throw badName(name, '"/" or NUL is in it');
  if (Buffer.byteLength(component) > NAME_MAX) throw badName(name, "it is too long");
}

function badName(name: string, why: string): RepositoryError {
  return new RepositoryError("bad-name", `${JSON.stringify(name)} cannot be a name: ${why}`);
}

export interface RelativeLink {
  /** What the symlink holds. */
  readonly target: string;
  /** Parent directories of the link that may have to be made, outermost first. */
  readonly directories: readonly string[];
}

/**
 * The symlink at `path` that leads to `target`, both paths in the repository. Leading components that both have in
 * common are taken to exist; each other parent of the link is one `..` in it.
 */
export function relativeLink(path: string, target: string): RelativeLink {
  const parents = path.split("/").slice(0, -1);
  const down = target.split("/");
  let common = 0;
  while (common < parents.length && parents[common] === down[common]) common++;
  return {
    target: [...parents.slice(common).map(() => ".."), ...down.slice(common)].join("/"),
    directories: parents.slice(common).map((_, i) => parents.slice(0, common + i + 1).join("/")),
  };
}

/** The digest that a link into `objects/` names: its last `xx/rest`, whatever comes before. */
export function digestOfTarget(target: string, hash: HashName): Uint8Array | undefined {
  const end = target.slice(-(2 * DIGEST_SIZE[hash] + 1));
  return digestOfObjectPath(end, hash);
}

/** The digest of an object's path below `objects/`; `undefined` if it is none of this hash. */
export function digestOfObjectPath(path: string, hash: HashName): Uint8Array | undefined {
  if (path[2] !== "/" || path.toLowerCase() !== path) return undefined;
  return digestOfHex(path.slice(0, 2) + path.slice(3), hash);
}

/** The digest that a hex string is, in either case; `undefined` if it is none of this hash. */
export function digestOfHex(hex: string, hash: HashName): Uint8Array | undefined {
  return hashOfHexLength(hex.length) === hash ? fromHex(hex) : undefined;
}

/** The last component of a path or link target. */
export function baseName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

/** Where the repository is if nobody says: the system's for root, the user's own for others. */
export function defaultRepositoryPath(
  uid: number,
  environment: Readonly<Record<string, string | undefined>>,
): string {
  if (uid === 0) return "/sysroot/composefs";
  const home = environment.HOME;
  if (home === undefined || home === "") {
    throw new RepositoryError(
      "no-repository",
      "no default repository: the variable HOME is not set",
    );
  }
  return `${home}/.var/lib/composefs`;
}
