/**
 * Certificates: the authorities that registries are checked against, the system's, as other programs use them (Node has
 * a list of its own), and those that were set up for one registry; and those that show a registry who we are
 * (containers-certs.d(5)).
 */
import { X509Certificate } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createSecureContext, rootCertificates, type SecureContext } from "node:tls";
import { userDirectory } from "./registries.ts";

/** Where distributions keep all of them in one file; the first one that is there counts. */
const SYSTEM_BUNDLES = [
  "/etc/ssl/certs/ca-certificates.crt",
  "/etc/pki/tls/certs/ca-bundle.crt",
  "/etc/ssl/ca-bundle.pem",
  "/etc/ssl/cert.pem",
];

const PER_REGISTRY = ["/etc/containers/certs.d", "/etc/docker/certs.d"];

/**
 * What TLS needs to check certificates of a registry (`host:port` as in references) and to show ours.
 *
 * Throws, naming the file, where one is no good, or a certificate has no key or a key no certificate.
 */
export function registryCertificates(
  registry: string,
  env: NodeJS.ProcessEnv = process.env,
): SecureContext {
  const bundles = env.SSL_CERT_FILE ? [env.SSL_CERT_FILE] : SYSTEM_BUNDLES;
  const system = bundles.map(readIfThere).find((text) => text !== undefined);
  const extra = env.NODE_EXTRA_CA_CERTS ? readIfThere(env.NODE_EXTRA_CA_CERTS) : undefined;
  const own = [];
  const pairs = [];
  for (const directory of directories(registry, env)) {
    const names = namesIn(directory);
    for (const name of names.filter((one) => one.endsWith(".crt")))
      own.push(check(join(directory, name), (text) => new X509Certificate(text)));
    for (const name of clientPairs(directory, names)) {
      const cert = check(join(directory, `${name}.cert`), (text) => new X509Certificate(text));
      const key = check(join(directory, `${name}.key`), (text) =>
        createSecureContext({ cert, key: text }),
      );
      pairs.push({ cert, key });
    }
  }
  return createSecureContext({
    ca: [...(system ? [system] : rootCertificates), ...(extra ? [extra] : []), ...own],
    cert: pairs.map(({ cert }) => cert),
    key: pairs.map(({ key }) => key),
  });
}

function directories(registry: string, env: NodeJS.ProcessEnv): string[] {
  const user = userDirectory(env, "containers/certs.d");
  const all = user === undefined ? PER_REGISTRY : [user, ...PER_REGISTRY];
  return all.map((directory) => join(directory, registry));
}

/** The names that are there as `NAME.cert` and `NAME.key`. */
function clientPairs(directory: string, names: readonly string[]): string[] {
  const pairs: string[] = [];
  for (const file of names) {
    const [, name, kind] = /^(.*)\.(cert|key)$/.exec(file) ?? [];
    if (name === undefined) continue;
    const other = `${name}.${kind === "cert" ? "key" : "cert"}`;
    if (!names.includes(other))
      throw Object.assign(new Error(`${join(directory, file)}: expected ${other} beside it`), {
        hint: kind === "cert" ? "a CA's certificate is named .crt" : undefined,
      });
    if (kind === "cert") pairs.push(name);
  }
  return pairs;
}

/** The text of a file. Throws, naming it, what `use` throws. */
function check(path: string, use: (text: string) => object): string {
  const text = readFileSync(path, "utf8");
  try {
    use(text);
  } catch (error) {
    throw new Error(path, { cause: error });
  }
  return text;
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory).sort();
  } catch {
    return []; // nothing was set up, or not for us
  }
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
