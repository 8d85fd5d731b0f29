/**
 * The signature policy of the machine, containers-policy.json(5): which images may be used at all, and what they must
 * be signed with. What it requires is looked up here; signatures are checked by a program that knows how.
 */
import { readFileSync, realpathSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { type JsonObject, parseJson } from "../../src/formats/json-document.ts";
import { formatLocation, type RegistryLocation } from "./location.ts";
import type { Reference } from "./reference.ts";
import { CONF_PLACES, type ConfPlaces } from "./registries.ts";

export interface Policy {
  /** The file that it was read from. */
  readonly file: string;
  /** By transport and scope; the transport "" holds the default, in its scope "". */
  readonly scopes: ReadonlyMap<string, ReadonlyMap<string, readonly string[]>>;
}

/** What the policy says about an image. `scope` is where it says so, for messages. */
export interface Verdict {
  /** `check`: that is for whoever can check signatures to decide. */
  readonly kind: "accept" | "reject" | "check";
  readonly scope: string;
}

const MAX_POLICY = 4 << 20;

/**
 * Reads the policy that applies to this user: their own, else the machine's. `undefined` where there is none at all:
 * nobody requires anything then. Throws where it cannot be read or is not understood.
 */
export function loadPolicy({ env, system }: ConfPlaces = CONF_PLACES): Policy | undefined {
  const directories = [...system];
  if (env.HOME) directories.push(join(env.HOME, ".config/containers"));
  // not `existsSync`: a policy that we may not see must not be taken for none
  const file = directories
    .map((one) => join(one, "policy.json"))
    .findLast((one) => statSync(one, { throwIfNoEntry: false }) !== undefined);
  return file === undefined ? undefined : parsePolicy(readFileSync(file), file);
}

/** Parses the bytes of a policy; errors name the file and the field. */
export function parsePolicy(bytes: Uint8Array, file: string): Policy {
  const document = parseJson(bytes, file, MAX_POLICY);
  for (const key of document.keys())
    if (!["default", "transports"].includes(key)) document.fail(key, "not expected in a policy");
  const scopes = new Map([["", new Map([["", requirements(document, "default")]])]]);
  const transports = document.optionalObject("transports");
  for (const transport of transports?.keys() ?? []) {
    const object = transports!.object(transport);
    scopes.set(
      transport,
      new Map(object.keys().map((scope) => [scope, requirements(object, scope)])),
    );
  }
  return { file, scopes };
}

function requirements(object: JsonObject, key: string): string[] {
  const list = object.objects(key);
  if (list.length === 0) object.fail(key, "expected at least one requirement");
  return list.map((requirement) => requirement.string("type"));
}

/**
 * What the policy says about an image: in the narrowest scope that it is in. `scopes` are those scopes, the narrowest
 * first, where the reference alone does not tell.
 */
export function judge(
  policy: Policy,
  reference: Reference,
  scopes: readonly string[] = scopesOf(reference),
): Verdict {
  const { transport } = reference;
  const own = policy.scopes.get(transport);
  for (const scope of [...scopes, ""]) {
    const types = own?.get(scope);
    if (types !== undefined) return verdict(types, `transport ${transport}, scope "${scope}"`);
  }
  return verdict(policy.scopes.get("")!.get("")!, "default");
}

function verdict(types: readonly string[], scope: string): Verdict {
  if (types.includes("reject")) return { kind: "reject", scope };
  const free = types.every((type) => type === "insecureAcceptAnything");
  return { kind: free ? "accept" : "check", scope };
}

/** Whether images that nothing is said about need no signature. */
export function takesAnything(policy: Policy): boolean {
  return verdict(policy.scopes.get("")!.get("")!, "default").kind === "accept";
}

/** The scopes that an image is in, the narrowest first. */
function scopesOf(reference: Reference): string[] {
  switch (reference.transport) {
    case "docker":
      return registryScopes(reference);
    case "oci":
    case "dir":
      return pathScopes(reference.directory);
    case "oci-archive":
      return pathScopes(reference.file);
    default:
      return []; // those of a docker-archive are empty, and of the others their readers know
  }
}

/** `host:1/a/b:tag`, `host:1/a/b`, `host:1/a`, `host:1`, and `*.` domains that the host is in. */
function registryScopes(location: RegistryLocation): string[] {
  const { tag, digest } = location;
  // the digest decides which image it is
  const identity = formatLocation({ ...location, tag: digest === undefined ? tag : undefined });
  const parts = `${location.registry}/${location.repository}`.split("/");
  const names = parts.map((_, i) => parts.slice(0, parts.length - i).join("/"));
  const labels = location.registry.replace(/:[0-9]+$/, "").split(".");
  const domains = labels.slice(1).map((_, i) => `*.${labels.slice(i + 1).join(".")}`);
  return [identity, ...names, ...domains];
}

/** The path without links, and the directories that it is in, but for the root. */
function pathScopes(path: string): string[] {
  const parts = realPath(path).split("/");
  return parts.slice(1).map((_, i) => parts.slice(0, parts.length - i).join("/"));
}

/** As the policy has it; what is not there has no links either. */
function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return resolve(path);
  }
}
