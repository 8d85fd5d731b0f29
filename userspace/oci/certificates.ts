/**
 * The certificate authorities that registries are checked against: the system's, as other programs use them (Node has a
 * list of its own), and those that were set up for one registry (containers-certs.d(5)).
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createSecureContext, rootCertificates, type SecureContext } from "node:tls";

/** Where distributions keep all of them in one file; the first one that is there counts. */
const SYSTEM_BUNDLES = [
  "/etc/ssl/certs/ca-certificates.crt",
  "/etc/pki/tls/certs/ca-bundle.crt",
  "/etc/ssl/ca-bundle.pem",
  "/etc/ssl/cert.pem",
];

const PER_REGISTRY = ["/etc/containers/certs.d", "/etc/docker/certs.d"];

/** What TLS needs to check certificates of a registry (`host:port` as in references). */
export function trustedCertificates(
  registry: string,
  env: NodeJS.ProcessEnv = process.env,
): SecureContext {
  const bundles = env.SSL_CERT_FILE ? [env.SSL_CERT_FILE] : SYSTEM_BUNDLES;
  const system = bundles.map(readIfThere).find((text) => text !== undefined);
  const extra = [env.NODE_EXTRA_CA_CERTS, ...registryFiles(registry)]
    .map((path) => (path ? readIfThere(path) : undefined))
    .filter((text) => text !== undefined);
  return createSecureContext({ ca: [...(system ? [system] : rootCertificates), ...extra] });
}

function registryFiles(registry: string): string[] {
  return PER_REGISTRY.flatMap((directory) => {
    try {
      const names = readdirSync(join(directory, registry));
      return names
        .filter((name) => name.endsWith(".crt"))
        .map((name) => join(directory, registry, name));
    } catch {
      return []; // none were set up
    }
  });
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
