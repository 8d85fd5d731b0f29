/**
 * Credentials for registries: those given on the command line, or from the files where `podman login` and
 * `docker login` keep them (containers-auth.json(5)).
 */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { RegistryLocation } from "./location.ts";

export type Credentials =
  | { readonly username: string; readonly password: string }
  /** An OAuth2 refresh token. */
  | { readonly identityToken: string };

export interface CredentialSources {
  /** `USER:PASSWORD`; overrides every file. */
  readonly creds?: string | undefined;
  /** The only file to look at; it must exist. */
  readonly authfile?: string | undefined;
  /** Helpers to ask, in order, as `registries.conf` has them; `AUTH_FILES` among them stands for the files. */
  readonly helpers?: readonly string[] | undefined;
}

/** Stands for credentials files in a list of helpers. */
const AUTH_FILES = "containers-auth.json";

const DOCKER_HUB = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/** `USER:PASSWORD` of the command line. The password may hold colons. */
export function parseCredentials(text: string): Credentials {
  const colon = text.indexOf(":");
  if (colon <= 0) throw new Error("credentials: expected USER:PASSWORD");
  return { username: text.slice(0, colon), password: text.slice(colon + 1) };
}

/** The files that are looked at, in order, when none is named. */
export function defaultAuthFiles(env: NodeJS.ProcessEnv, uid: number): string[] {
  const home = env.HOME ?? "";
  const runtime = env.XDG_RUNTIME_DIR ?? (uid === 0 ? "/run" : `/run/user/${uid}`);
  const files =
    uid === 0 && env.XDG_RUNTIME_DIR === undefined
      ? ["/run/containers/0/auth.json"]
      : [join(runtime, "containers/auth.json")];
  // where image-based systems keep the credentials that the machine itself pulls with
  if (uid === 0)
    files.push("/run/ostree/auth.json", "/etc/ostree/auth.json", "/usr/lib/ostree/auth.json");
  if (home !== "") {
    files.push(join(env.XDG_CONFIG_HOME ?? join(home, ".config"), "containers/auth.json"));
    files.push(join(env.DOCKER_CONFIG ?? join(home, ".docker"), "config.json"));
  }
  return files;
}

/**
 * The credentials for a registry, or `undefined` if there are none.
 *
 * Throws where a file that was named does not exist, or a file is not what it should be; never quotes its contents.
 */
export function findCredentials(
  location: RegistryLocation,
  sources: CredentialSources,
  env: NodeJS.ProcessEnv = process.env,
): Credentials | undefined {
  if (sources.creds !== undefined) return parseCredentials(sources.creds);
  const named = sources.authfile ?? env.REGISTRY_AUTH_FILE;
  const helpers = named === undefined ? (sources.helpers ?? []) : [];
  for (const helper of helpers.length === 0 ? [AUTH_FILES] : helpers) {
    const found =
      helper === AUTH_FILES
        ? fromAuthFiles(location, sources, env)
        : fromHelper(helper, location.registry, "credential-helpers of registries.conf");
    if (found !== undefined) return found;
  }
  return undefined;
}

function fromAuthFiles(
  location: RegistryLocation,
  { authfile }: CredentialSources,
  env: NodeJS.ProcessEnv,
): Credentials | undefined {
  const named = authfile ?? env.REGISTRY_AUTH_FILE;
  const files = named !== undefined ? [named] : defaultAuthFiles(env, process.getuid?.() ?? -1);
  for (const file of files) {
    let text: string;
    try {
      text = readFileSync(file, "utf8");
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (authfile === undefined && (code === "ENOENT" || code === "EACCES")) continue;
      throw new Error(`credentials file ${file}`, { cause: error });
    }
    try {
      const found = fromAuthFile(text, location);
      if (found !== undefined) return found;
    } catch (error) {
      throw new Error(`credentials file ${file}`, { cause: error });
    }
  }
  return undefined;
}

/** Keys that stand for a reference, the most specific first: registry/org/image, registry/org, registry. */
function keysOf({ registry, repository }: RegistryLocation): string[] {
  const parts = repository.split("/");
  const hosts = DOCKER_HUB.includes(registry) ? DOCKER_HUB : [registry];
  const keys: string[] = [];
  for (let n = parts.length; n >= 0; n--)
    for (const host of hosts) keys.push([host, ...parts.slice(0, n)].join("/"));
  return keys;
}

function fromAuthFile(text: string, location: RegistryLocation): Credentials | undefined {
  let file: unknown;
  try {
    file = JSON.parse(text);
  } catch {
    throw new Error("expected JSON"); // the parser's message would quote the file
  }
  const { auths, credHelpers, credsStore } = record(file, "the file");
  const helpers = credHelpers === undefined ? {} : record(credHelpers, "credHelpers");
  const keys = keysOf(location);
  const helper = keys.map((key) => helpers[key]).find((name) => name !== undefined);
  if (helper !== undefined) return fromHelper(helper, location.registry, "credHelpers");

  if (credsStore !== undefined && credsStore !== "") {
    const found = fromHelper(credsStore, storeKey(location.registry), "credsStore");
    if (found !== undefined) return found;
  }

  const entries = auths === undefined ? {} : record(auths, "auths");
  for (const key of keys) {
    const entry = entries[key] ?? legacyEntry(entries, key);
    if (entry !== undefined) return fromEntry(record(entry, `auths["${key}"]`), key);
  }
  return undefined;
}

/** What `docker login` keeps a login under in its store. */
function storeKey(registry: string): string {
  return DOCKER_HUB.includes(registry) ? "https://index.docker.io/v1/" : registry;
}

/** Old files have URLs as keys: `https://index.docker.io/v1/`. */
function legacyEntry(entries: Record<string, unknown>, host: string): unknown {
  for (const [key, entry] of Object.entries(entries)) {
    if (/^https?:\/\//.test(key) && key.replace(/^https?:\/\//, "").split("/")[0] === host)
      return entry;
  }
  return undefined;
}

function fromEntry(entry: Record<string, unknown>, key: string): Credentials | undefined {
  const { auth, identitytoken } = entry;
  if (typeof identitytoken === "string" && identitytoken !== "")
    return { identityToken: identitytoken };
  if (auth === undefined || auth === "") return undefined;
  const plain = typeof auth === "string" ? Buffer.from(auth, "base64").toString() : "";
  if (plain.indexOf(":") <= 0)
    throw new Error(`auths["${key}"].auth: expected base64 of USER:PASSWORD`);
  return parseCredentials(plain.replace(/\0+$/, ""));
}

/** Asks `docker-credential-NAME`, as containers-auth.json(5) says. */
function fromHelper(helper: unknown, registry: string, named: string): Credentials | undefined {
  if (typeof helper !== "string" || !/^[\w.-]+$/.test(helper))
    throw new Error(`${named}: expected names of helpers`);
  const program = `docker-credential-${helper}`;
  const { status, stdout, error } = spawnSync(program, ["get"], {
    input: registry,
    encoding: "utf8",
    timeout: 30_000,
    stdio: ["pipe", "pipe", "inherit"],
  });
  if ((error as NodeJS.ErrnoException | undefined)?.code === "ENOENT")
    throw new Error(`${named}: ${program} is not installed`);
  if (error) throw new Error(`${program} get`, { cause: error });
  if (status !== 0) {
    if (/credentials not found/.test(stdout)) return undefined;
    throw new Error(`${program} get: exit status ${status}`);
  }
  let answer: Record<string, unknown>;
  try {
    answer = record(JSON.parse(stdout), "the answer");
  } catch {
    throw new Error(`${program} get: expected JSON`);
  }
  const { Username: username, Secret: secret } = answer;
  if (typeof username !== "string" || typeof secret !== "string")
    throw new Error(`${program} get: expected Username and Secret`);
  return username === "<token>" ? { identityToken: secret } : { username, password: secret };
}

function record(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new Error(`${what}: expected a JSON object`);
  return value as Record<string, unknown>;
}
