/** From the name of an image to the places where it is looked for, as `registries.conf` says. */
import type { Endpoint, RegistriesConf, RegistryConf } from "../../src/formats/registries-conf.ts";
import {
  beginsWithHost,
  formatLocation,
  parseLocation,
  type RegistryLocation,
} from "./location.ts";

/** A place to look for an image. */
export interface PullSource {
  readonly location: RegistryLocation;
  /** Certificates are not checked, and HTTP will do. */
  readonly insecure: boolean;
  /** Somebody else's copy, which may lack images. */
  readonly mirror: boolean;
}

/** The places to look for an image, in order; the last one is not a mirror. Throws if the registry is blocked. */
export function pullSources(location: RegistryLocation, conf: RegistriesConf): PullSource[] {
  const name = formatLocation(location);
  const registry = registryOf(name, conf);
  if (registry === undefined) return [{ location, insecure: false, mirror: false }];
  if (registry.blocked)
    throw Object.assign(new Error(`${registry.prefix} is blocked`), {
      hint: "registries.conf says so: see containers-registries.conf(5)",
    });

  const unused = location.digest === undefined ? "digest-only" : "tag-only";
  const source = (endpoint: Endpoint, mirror: boolean): PullSource => ({
    location: rewrite(name, registry, endpoint),
    insecure: endpoint.insecure,
    mirror,
  });
  return [
    ...registry.mirrors.filter(({ use }) => use !== unused).map((mirror) => source(mirror, true)),
    source(registry, false),
  ];
}

/**
 * References that a text without a transport may mean: a name with a host that one, a short name what its alias says, or
 * else one in each of the registries that are searched. None if it is no name.
 */
export function suggestReferences(text: string, conf: RegistriesConf): string[] {
  try {
    parseLocation(text);
    return (beginsWithHost(text) ? [text] : expandShortName(text, conf)).map(
      (name) => `docker://${name}`,
    );
  } catch {
    return [];
  }
}

function expandShortName(name: string, conf: RegistriesConf): string[] {
  const end = /[:@]/.exec(name)?.index ?? name.length;
  const alias = conf.aliases.get(name.slice(0, end));
  if (alias) return [alias + name.slice(end)];
  return (conf.searchRegistries ?? []).map((host) => `${host}/${name}`);
}

/** The table with the longest prefix that the name has. */
function registryOf(name: string, conf: RegistriesConf): RegistryConf | undefined {
  let best: RegistryConf | undefined;
  for (const registry of conf.registries.values()) {
    if (matchLength(name, registry.prefix) === undefined) continue;
    if (best === undefined || registry.prefix.length > best.prefix.length) best = registry;
  }
  return best;
}

/** How much of the name the prefix stands for; `undefined` if it is not its prefix. */
function matchLength(name: string, prefix: string): number | undefined {
  if (prefix.startsWith("*.")) {
    const end = /:[0-9]+\/|\//.exec(name)?.index ?? name.length;
    return name.slice(0, end).endsWith(prefix.slice(1)) ? end : undefined;
  }
  if (!name.startsWith(prefix)) return undefined;
  const next = name[prefix.length];
  // behind a host, a colon would make it another one
  const ends = prefix.includes("/") ? ["/", ":", "@", undefined] : ["/"];
  return ends.includes(next) ? prefix.length : undefined;
}

function rewrite(name: string, { prefix }: RegistryConf, { location }: Endpoint): RegistryLocation {
  if (location === "") return parseLocation(name);
  const rewritten = location + name.slice(matchLength(name, prefix) ?? 0);
  if (!beginsWithHost(rewritten))
    throw new Error(`registries.conf: location ${JSON.stringify(location)}: expected a host`);
  try {
    return parseLocation(rewritten);
  } catch (error) {
    throw new Error(`registries.conf: location ${JSON.stringify(location)}`, { cause: error });
  }
}
