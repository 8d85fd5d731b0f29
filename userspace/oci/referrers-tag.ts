/**
 * Referrers in a registry that has no API for them: an index with a tag made of the subject's digest (OCI distribution
 * specification 1.1, "Pushing Manifests with Subject").
 */
import { fromText, toBytes } from "../../src/formats/bytestring.ts";
import { parseJson } from "../../src/formats/json-document.ts";
import { MAX_MANIFEST, MEDIA_TYPES, parseIndex } from "../../src/formats/oci.ts";
import type { OutgoingManifest } from "./destination.ts";
import { display, readBody, statusError } from "./http.ts";
import type { RegistrySession } from "./registry-session.ts";

/** Adds a manifest to the list of its subject's referrers. */
export async function addToReferrersTag(
  session: RegistrySession,
  subject: string,
  { mediaType, digest, size, artifactType, annotations }: OutgoingManifest,
): Promise<void> {
  const url = session.url(`manifests/${subject.replace(":", "-")}`);
  const entry = {
    mediaType,
    digest,
    size,
    ...(artifactType === undefined ? {} : { artifactType }),
    ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
  };
  const others = await readReferrers(session, url);
  if (others.some((other) => other.digest === digest)) return;
  const document = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.index,
    manifests: [...others, entry],
  };
  const response = await session.send(url, {
    method: "PUT",
    headers: { "content-type": MEDIA_TYPES.index },
    body: toBytes(fromText(JSON.stringify(document))),
  });
  if (response.status !== 201) throw await statusError(url, response);
  await response.discard();
}

/** The entries of the index that is there. */
async function readReferrers(
  session: RegistrySession,
  url: URL,
): Promise<Readonly<Record<string, unknown>>[]> {
  const response = await session.send(url, { headers: { accept: MEDIA_TYPES.index } });
  if (response.status === 404) {
    await response.discard();
    return [];
  }
  if (response.status !== 200) throw await statusError(url, response);
  const bytes = await readBody(response, MAX_MANIFEST);
  parseIndex(bytes, display(url));
  return parseJson(bytes, display(url), MAX_MANIFEST)
    .objects("manifests")
    .map(({ value }) => value);
}
