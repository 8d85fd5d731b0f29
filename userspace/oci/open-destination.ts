/** Opens the place that an image is to be copied to, with credentials and as `registries.conf` says. */
import type { Linux } from "../../src/linux/linux.ts";
import { findCredentials } from "./credentials.ts";
import type { Destination } from "./destination.ts";
import { pullSources } from "./endpoints.ts";
import { openLayoutDestination } from "./layout-writer.ts";
import type { RegistryLocation } from "./location.ts";
import { openRegistryDestination } from "./push.ts";
import {
  type LayoutReference,
  parseReference,
  type Reference,
  type RegistryReference,
} from "./reference.ts";
import { CONF_PLACES, type ConfPlaces, loadRegistriesConf } from "./registries.ts";
import { largeTemporaryDirectory } from "./temporary.ts";

export type WritableReference = LayoutReference | RegistryReference;

/** What there is, for help and messages. */
export const WRITABLE_FORMS = "oci:DIRECTORY[:TAG] or docker://HOST/NAME[:TAG]";

export interface DestinationOptions {
  /** False: certificates are not checked, and HTTP will do. `undefined`: as `registries.conf` says. */
  readonly tlsVerify?: boolean | undefined;
  /** The only credentials file to look at. */
  readonly authfile?: string | undefined;
  /** `USER:PASSWORD` for the registry. */
  readonly creds?: string | undefined;
  /** The image's names here: of those that are references, the same registry is asked to take blobs from. */
  readonly tags?: readonly string[];
  /** Where configuration is. */
  readonly places?: ConfPlaces;
  /** Milliseconds before the first retry. */
  readonly retryDelay?: number | undefined;
}

/** Throws unless an image can be copied to where a reference says. */
export function requireWritableReference(reference: Reference): WritableReference {
  const { transport } = reference;
  if (transport === "oci" || transport === "docker") return reference;
  throw new Error(`cannot copy to ${transport}: expected ${WRITABLE_FORMS}`);
}

/** Opens a registry or an image layout for writing. To mirrors nothing is written. */
export async function openDestination(
  linux: Linux,
  reference: WritableReference,
  options: DestinationOptions,
): Promise<Destination> {
  if (reference.transport === "oci") return openLayoutDestination(linux, reference);
  const places = options.places ?? CONF_PLACES;
  const conf = loadRegistriesConf(places);
  const primary = (location: RegistryLocation) => pullSources(location, conf).at(-1)!;
  const { location, insecure } = primary(reference);
  const mountFrom = new Set<string>();
  for (const tag of options.tags ?? []) {
    try {
      const source = parseReference(tag);
      if (source.transport !== "docker") continue;
      const { registry, repository } = primary(source).location;
      if (registry === location.registry) mountFrom.add(repository);
    } catch {
      // a tag may be any text, and what is blocked is not asked
    }
  }
  return openRegistryDestination(linux, location, {
    tlsVerify: options.tlsVerify ?? !insecure,
    credentials: findCredentials(
      location,
      { creds: options.creds, authfile: options.authfile, helpers: conf.credentialHelpers },
      places.env,
    ),
    mountFrom: [...mountFrom],
    scratch: largeTemporaryDirectory(places.env),
    retryDelay: options.retryDelay,
  });
}
