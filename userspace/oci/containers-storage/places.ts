/** Where containers' storage is on this machine: `storage.conf` and the environment, containers-storage.conf(5). */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import {
  mergeStorageConf,
  NO_STORAGE_CONF,
  parseStorageConf,
  type StorageConf,
} from "../../../src/formats/storage-conf.ts";
import type { StoreSpecifier } from "../reference.ts";
import { type ConfPlaces, userDirectory } from "../registries.ts";

export interface StorePlaces {
  /** How the store keeps layers; `undefined`: whatever is found there. */
  readonly driver: string | undefined;
  /** The store itself. */
  readonly graphRoot: string;
  /** More stores that images and layers may be in, in the order in which they are looked in. */
  readonly others: readonly string[];
}

const SYSTEM_ROOT = "/var/lib/containers/storage";
/** Options of a driver that name a store to look in, with or without the driver's name before them. */
const STORE_OPTION = /^(?:[a-z0-9]+\.)?(?:additional)?imagestore=(.*)$/;

/** The stores that a reference means. Errors name the file or variable. */
export function storePlaces(
  specifier: StoreSpecifier | undefined,
  places: ConfPlaces,
): StorePlaces {
  const { env } = places;
  if (specifier !== undefined) {
    const { driver, graphRoot, options } = specifier;
    return { driver: driverOf(driver), graphRoot, others: storesIn(options) };
  }
  const conf = loadStorageConf(places);
  const options = env.STORAGE_OPTS ? storesIn(env.STORAGE_OPTS.split(",")) : undefined;
  const others = [
    ...(conf.imageStore === undefined ? [] : [conf.imageStore]),
    ...(options ?? conf.additionalImageStores ?? []),
  ];
  return {
    driver: driverOf(env.STORAGE_DRIVER || conf.driver),
    graphRoot: graphRootOf(conf, places),
    others: others.map((path) => absolute(expand(path, places))),
  };
}

/** overlay2 is what Docker calls it. */
function driverOf(name: string | undefined): string | undefined {
  return name === "overlay2" ? "overlay" : name;
}

function storesIn(options: readonly string[]): string[] {
  return options.flatMap((option) => STORE_OPTION.exec(option.trim())?.[1] ?? []);
}

function graphRootOf(conf: StorageConf, places: ConfPlaces): string {
  const own = isRootless(places);
  const stated = conf.graphRoot ?? (own ? conf.rootlessStoragePath : undefined);
  if (stated !== undefined) return absolute(expand(stated, places));
  if (!own) return SYSTEM_ROOT;
  const { XDG_DATA_HOME, HOME } = places.env;
  if (XDG_DATA_HOME) return join(XDG_DATA_HOME, "containers/storage");
  if (HOME) return join(HOME, ".local/share/containers/storage");
  throw new Error("containers' storage of this user: neither XDG_DATA_HOME nor HOME is set");
}

/** Whether the store is a user's own: also for who is root only in a namespace that podman has made for a user. */
export function isRootless({ env, uid }: ConfPlaces): boolean {
  return uid !== 0 || (env._CONTAINERS_ROOTLESS_UID ?? "0") !== "0";
}

function loadStorageConf(places: ConfPlaces): StorageConf {
  let conf = NO_STORAGE_CONF;
  for (const { file, system } of storageFiles(places)) {
    const read = parseStorageConf(readFileSync(file, "utf8"), file);
    // where root's images are is not where a user's are
    const applies = system && isRootless(places) ? { ...read, graphRoot: undefined } : read;
    conf = mergeStorageConf(conf, applies);
  }
  return conf;
}

interface ConfFile {
  readonly file: string;
  /** For all users, not this one's. */
  readonly system: boolean;
}

/** The main file, the one that counts most of those there are, and additions to it. */
function storageFiles(places: ConfPlaces): ConfFile[] {
  const { env } = places;
  const override = env.CONTAINERS_STORAGE_CONF_OVERRIDE;
  const last = override ? [{ file: override, system: false }] : [];
  if (env.CONTAINERS_STORAGE_CONF)
    return [{ file: env.CONTAINERS_STORAGE_CONF, system: false }, ...last];
  const own = isRootless(places) ? userDirectory(env, "containers") : undefined;
  const directories = [
    ...places.system.map((directory) => ({ directory, system: true })),
    ...(own === undefined ? [] : [{ directory: own, system: false }]),
  ];
  const main = directories
    .map(({ directory, system }) => ({ file: join(directory, "storage.conf"), system }))
    .findLast(({ file }) => existsSync(file));
  // of additions with one name the last one counts, in its alphabetical place
  const additions = new Map<string, ConfFile>();
  for (const { directory, system } of directories) {
    const place = join(directory, "storage.conf.d");
    for (const name of existsSync(place) ? readdirSync(place) : [])
      if (name.endsWith(".conf")) additions.set(name, { file: join(place, name), system });
  }
  const sorted = [...additions].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, file]) => file);
  return [...(main === undefined ? [] : [main]), ...sorted, ...last];
}

/** `$HOME`, `${UID}` and other variables. */
function expand(path: string, { env, uid }: ConfPlaces): string {
  return path.replace(/\$(?:\{(\w+)\}|(\w+))/g, (_, braced, plain) => {
    const name: string = braced ?? plain;
    return name === "UID" ? (env._CONTAINERS_ROOTLESS_UID ?? String(uid)) : (env[name] ?? "");
  });
}

function absolute(path: string): string {
  if (!isAbsolute(path))
    throw new Error(`storage.conf: ${JSON.stringify(path)}: expected an absolute path`);
  return path;
}
