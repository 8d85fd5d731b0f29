/** Where `registries.conf` is, and the files beside it: containers-config(5). */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import {
  mergeRegistriesConf,
  NO_REGISTRIES_CONF,
  parseRegistriesConf,
  type RegistriesConf,
} from "../../src/formats/registries-conf.ts";

export interface ConfPlaces {
  readonly env: NodeJS.ProcessEnv;
  readonly uid: number;
  /** The vendor's directory and the administrator's. */
  readonly system: readonly string[];
}

export const CONF_PLACES: ConfPlaces = {
  env: process.env,
  uid: process.getuid?.() ?? -1,
  system: ["/usr/share/containers", "/etc/containers"],
};

/** Reads what applies to this user. Throws, naming the file, where one cannot be read or is none. */
export function loadRegistriesConf(places: ConfPlaces = CONF_PLACES): RegistriesConf {
  let conf = NO_REGISTRIES_CONF;
  for (const file of registriesFiles(places)) {
    const text = readFileSync(file, "utf8");
    conf = mergeRegistriesConf(conf, parseRegistriesConf(text, file));
  }
  return conf;
}

/** The files, in the order in which they count. */
function registriesFiles({ env, uid, system }: ConfPlaces): string[] {
  const user = userDirectory(env, "containers");
  const directories = [...system, ...(user === undefined ? [] : [user])];
  const override = env.CONTAINERS_REGISTRIES_CONF_OVERRIDE;
  const last = [
    ...(override ? [override] : []),
    // short names that other programs took note of
    ...[aliasCache(env, uid)].filter((file) => file !== undefined && existsSync(file)),
  ] as string[];
  if (env.CONTAINERS_REGISTRIES_CONF) return [env.CONTAINERS_REGISTRIES_CONF, ...last];

  const main = directories.map((directory) => join(directory, "registries.conf")).findLast(exists);
  const dropIns = new Map<string, string>();
  const kind = uid === 0 ? "rootful" : "rootless";
  for (const directory of directories) {
    const places = [join(directory, "registries.conf.d")];
    if (directory !== user) {
      places.push(join(directory, `registries.${kind}.conf.d`));
      if (uid !== 0) places.push(join(directory, `registries.${kind}.conf.d`, String(uid)));
    }
    // of files with one name the last one counts, in its alphabetical place
    for (const place of places)
      for (const name of namesIn(place)) dropIns.set(name, join(place, name));
  }
  const sorted = [...dropIns].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, file]) => file);
  return [...(main === undefined ? [] : [main]), ...sorted, ...last];
}

/** The user's own directory for configuration of `program`; `undefined` for those without a home. */
export function userDirectory(env: NodeJS.ProcessEnv, program: string): string | undefined {
  if (env.XDG_CONFIG_HOME) return join(env.XDG_CONFIG_HOME, program);
  return env.HOME ? join(env.HOME, ".config", program) : undefined;
}

function aliasCache(env: NodeJS.ProcessEnv, uid: number): string | undefined {
  const cache = uid === 0 ? "/var/cache" : env.HOME && join(env.HOME, ".cache");
  return cache ? join(cache, "containers/short-name-aliases.conf") : undefined;
}

function exists(path: string): boolean {
  return existsSync(path);
}

function namesIn(directory: string): string[] {
  try {
    const entries = readdirSync(directory, { withFileTypes: true });
    return entries
      .filter((entry) => !entry.isDirectory() && entry.name.endsWith(".conf"))
      .map(({ name }) => name);
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "")) return [];
    throw error;
  }
}
