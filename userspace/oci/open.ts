/** Opens the place that a reference names: allowed by the policy, through mirrors, with credentials. */
import type { ImagePlatform } from "../../src/formats/oci.ts";
import { errorText } from "../../src/linux/error-text.ts";
import { openStoredImage } from "./containers-storage/open.ts";
import { findCredentials } from "./credentials.ts";
import { openDirectory } from "./directory.ts";
import { openDockerArchive } from "./docker-archive.ts";
import { type PullSource, pullSources } from "./endpoints.ts";
import { openLayout, openLayoutArchive } from "./layout.ts";
import { formatLocation } from "./location.ts";
import { judge, loadPolicy, type Policy } from "./policy.ts";
import type {
  ForeignReference,
  Reference,
  RegistryReference,
  StorageReference,
} from "./reference.ts";
import { CONF_PLACES, type ConfPlaces, loadRegistriesConf } from "./registries.ts";
import { openRegistry } from "./registry.ts";
import { acceptedManifest, openThroughSkopeo } from "./skopeo.ts";
import { type ManifestBytes, type Transport, withMethods } from "./transport.ts";

export interface SourceOptions {
  /** Which image of several the policy is asked about. */
  readonly platform: ImagePlatform;
  /** False: certificates are not checked, and HTTP will do. `undefined`: as `registries.conf` says. */
  readonly tlsVerify?: boolean | undefined;
  /** The only credentials file to look at. */
  readonly authfile?: string | undefined;
  /** `USER:PASSWORD` for the registry that the reference names. */
  readonly creds?: string | undefined;
  /** Where configuration is. */
  readonly places?: ConfPlaces;
  /** Milliseconds before the first retry. */
  readonly retryDelay?: number | undefined;
  readonly idleTimeout?: number | undefined;
}

/**
 * Opens what a reference names.
 *
 * Throws if the signature policy does not accept the image. Where it requires signatures, the manifest that was checked
 * is the one that the transport gives.
 */
export async function openSource(reference: Reference, options: SourceOptions): Promise<Transport> {
  const places = options.places ?? CONF_PLACES;
  const policy = loadPolicy(places);
  if (reference.transport === "docker-daemon")
    return openThroughSkopeo(reference, { ...options, policy });
  if (reference.transport === "containers-storage")
    return openStorage(reference, options, places, policy);
  const verdict = policy === undefined ? undefined : judge(policy, reference);
  if (policy === undefined || verdict === undefined || verdict.kind === "accept")
    return openNative(reference, options, places);

  const demand = `${policy.file} (${verdict.scope})`;
  if (verdict.kind === "reject") throw new Error(`${demand} rejects this image`);
  let accepted: ManifestBytes;
  try {
    accepted = await acceptedManifest(reference, { ...options, policy });
  } catch (error) {
    throw new Error(`${demand} demands signatures`, { cause: error });
  }
  // from here on nobody is asked what the tag stands for
  const { digest } = accepted;
  const same = reference.transport === "docker" ? { ...reference, digest } : reference;
  return withRoot(await openNative(same, options, places), accepted);
}

/** An image that is to be checked, or that cannot be read as it is kept, is copied by skopeo first. */
async function openStorage(
  reference: StorageReference,
  options: SourceOptions,
  places: ConfPlaces,
  policy: Policy | undefined,
): Promise<Transport> {
  const image = await openStoredImage(reference, places);
  if (image !== undefined) {
    const verdict = policy === undefined ? undefined : judge(policy, reference, image.scopes);
    if (verdict === undefined || verdict.kind === "accept") return image;
    await image.close();
    if (verdict.kind === "reject")
      throw new Error(`${policy!.file} (${verdict.scope}) rejects this image`);
  }
  return openThroughSkopeo(reference, { ...options, policy });
}

type NativeReference = Exclude<Reference, ForeignReference | StorageReference>;

function openNative(
  reference: NativeReference,
  options: SourceOptions,
  places: ConfPlaces,
): Promise<Transport> {
  switch (reference.transport) {
    case "oci":
      return openLayout(reference);
    case "oci-archive":
      return openLayoutArchive(reference);
    case "docker-archive":
      return openDockerArchive(reference);
    case "dir":
      return openDirectory(reference);
    case "docker":
      return openRegistries(reference, options, places);
  }
}

/** So many attempts for a request to a mirror: there is another place to ask. */
const MIRROR_ATTEMPTS = 2;

/** Opens the first place that has the image. */
async function openRegistries(
  reference: RegistryReference,
  options: SourceOptions,
  places: ConfPlaces,
): Promise<Transport> {
  const conf = loadRegistriesConf(places);
  const open = ({ location, insecure, mirror }: PullSource) => {
    // a password that was given for one registry is not for others
    const creds = location.registry === reference.registry ? options.creds : undefined;
    const credentials = findCredentials(
      location,
      { creds, authfile: options.authfile, helpers: conf.credentialHelpers },
      places.env,
    );
    return openRegistry(location, {
      tlsVerify: options.tlsVerify ?? !insecure,
      credentials,
      env: places.env,
      retryDelay: options.retryDelay,
      idleTimeout: options.idleTimeout,
      attempts: mirror ? MIRROR_ATTEMPTS : undefined,
    });
  };

  const openWithRoot = async (source: PullSource) => {
    const transport = await open(source);
    try {
      return withRoot(transport, await transport.root());
    } catch (error) {
      await transport.close();
      throw error;
    }
  };

  const sources = pullSources(reference, conf);
  const primary = sources.pop()!;
  if (sources.length === 0) return open(primary);
  const failures: string[] = [];
  for (const source of sources) {
    try {
      return await openWithRoot(source);
    } catch (error) {
      failures.push(`mirror ${formatLocation(source.location)} failed: ${errorText(error)}`);
    }
  }
  try {
    return await openWithRoot(primary);
  } catch (error) {
    throw Object.assign(new Error(formatLocation(primary.location), { cause: error }), {
      hint: failures.join("; "),
    });
  }
}

/** The same transport, whose root is known already. */
function withRoot(transport: Transport, root: ManifestBytes): Transport {
  return withMethods(transport, { root: async () => root });
}
