/**
 * `registries.conf`: how names of images lead to registries, containers-registries.conf(5), format 2 and (without
 * mirrors) the older format 1.
 *
 *     unqualified-search-registries = ["registry.example"]
 *     credential-helpers = ["containers-auth.json"]
 *     [[registry]]
 *     prefix = "example.com/team"                # host[/namespace…[:tag|@digest]] or *.host; default: location
 *     location = "internal.example/team"         # stands in the prefix's place
 *     insecure = false                           # true: check no certificates, and allow HTTP
 *     blocked = false
 *     mirror-by-digest-only = false
 *     [[registry.mirror]]                        # asked before the location, in order
 *     location = "mirror.example:5000/team"
 *     insecure = false
 *     pull-from-mirror = "all"                   # all | digest-only | tag-only
 *     [aliases]
 *     name = "registry.example/namespace/name"
 *
 * Keys that are not listed here are left to other programs.
 */
import { parseToml, type TomlTable } from "./toml-document.ts";

const MIRROR_USES = ["all", "digest-only", "tag-only"] as const;

export interface Endpoint {
  /** Stands in the place of the prefix. Empty: the name stays as it is. */
  readonly location: string;
  readonly insecure: boolean;
}

export interface Mirror extends Endpoint {
  readonly use: (typeof MIRROR_USES)[number];
}

export interface RegistryConf extends Endpoint {
  readonly prefix: string;
  readonly blocked: boolean;
  readonly mirrors: readonly Mirror[];
}

/** What one file says, or several together. */
export interface RegistriesConf {
  /** By prefix. */
  readonly registries: ReadonlyMap<string, RegistryConf>;
  /** `undefined`: the file does not say. */
  readonly searchRegistries: readonly string[] | undefined;
  readonly credentialHelpers: readonly string[] | undefined;
  /** By short name; an empty one takes an alias away. */
  readonly aliases: ReadonlyMap<string, string>;
}

/** What no file at all means. */
export const NO_REGISTRIES_CONF: RegistriesConf = {
  registries: new Map(),
  searchRegistries: undefined,
  credentialHelpers: undefined,
  aliases: new Map(),
};

/** Together: what a later file says replaces what an earlier one says of the same prefix, alias or list. */
export function mergeRegistriesConf(first: RegistriesConf, then: RegistriesConf): RegistriesConf {
  return {
    registries: new Map([...first.registries, ...then.registries]),
    searchRegistries: then.searchRegistries ?? first.searchRegistries,
    credentialHelpers: then.credentialHelpers ?? first.credentialHelpers,
    aliases: new Map([...first.aliases, ...then.aliases]),
  };
}

/** Parses the text of the file called `file` in messages, which name the key and what was expected. */
export function parseRegistriesConf(text: string, file: string): RegistriesConf {
  const root = parseToml(text, file);
  const old = root.optionalTable("registries");
  if (old !== undefined) return parseFormat1(root, old);

  const registries = new Map<string, RegistryConf>();
  for (const table of root.tables("registry")) {
    const registry = parseRegistry(table);
    // of several with one prefix the first one counts
    if (!registries.has(registry.prefix)) registries.set(registry.prefix, registry);
  }
  return {
    registries,
    searchRegistries: root.optionalStrings("unqualified-search-registries")?.map(trim),
    credentialHelpers: root.optionalStrings("credential-helpers"),
    aliases: root.stringMap("aliases"),
  };
}

function parseRegistry(table: TomlTable): RegistryConf {
  const location = place(table, "location");
  const prefix = place(table, "prefix") || location;
  const wildcard = prefix.startsWith("*.");
  if (prefix === "") table.fail("location", "expected a location, or a prefix");
  if (wildcard && /[/@:]/.test(prefix)) table.fail("prefix", 'expected "*." and a domain');
  if (location === "" && !wildcard) table.fail("location", "expected a location");
  if (table.optionalString("pull-from-mirror"))
    table.fail("pull-from-mirror", "expected in [[registry.mirror]], not in [[registry]]");

  const digestOnly = table.boolean("mirror-by-digest-only");
  const mirrors = table.tables("mirror").map((mirror) => {
    const stated = mirror.optionalString("pull-from-mirror") || undefined;
    const use = MIRROR_USES.find((one) => one === (stated ?? "all"));
    if (use === undefined)
      return mirror.fail("pull-from-mirror", `expected one of ${MIRROR_USES.join(", ")}`);
    if (stated !== undefined && digestOnly)
      mirror.fail("pull-from-mirror", "not expected beside mirror-by-digest-only");
    const at = place(mirror, "location");
    if (at === "") mirror.fail("location", "expected a location");
    return {
      location: at,
      insecure: mirror.boolean("insecure"),
      use: digestOnly ? ("digest-only" as const) : use,
    };
  });
  return {
    prefix,
    location,
    insecure: table.boolean("insecure"),
    blocked: table.boolean("blocked"),
    mirrors,
  };
}

/** Lists of hosts: `[registries.search]`, `[registries.insecure]` and `[registries.block]`. */
function parseFormat1(root: TomlTable, table: TomlTable): RegistriesConf {
  const both = ["registry", "unqualified-search-registries"].find((key) => root.has(key));
  if (both !== undefined) root.fail(both, "not expected beside [registries], an older format");
  const list = (key: string) =>
    (table.optionalTable(key)?.optionalStrings("registries") ?? []).map(trim);
  const insecure = new Set(list("insecure"));
  const blocked = new Set(list("block"));
  const registries = new Map<string, RegistryConf>();
  for (const host of new Set([...insecure, ...blocked])) {
    registries.set(host, {
      prefix: host,
      location: host,
      insecure: insecure.has(host),
      blocked: blocked.has(host),
      mirrors: [],
    });
  }
  return { ...NO_REGISTRIES_CONF, registries, searchRegistries: list("search") };
}

/** A location or prefix, without the slashes that it may end in. */
function place(table: TomlTable, key: string): string {
  const value = trim(table.optionalString(key) ?? "");
  if (/^https?:\/\//.test(value)) table.fail(key, "expected no http:// or https://");
  return value;
}

function trim(value: string): string {
  let end = value.length;
  while (value[end - 1] === "/") end--;
  return value.slice(0, end);
}
