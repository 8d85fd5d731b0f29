/**
 * References to images among those to a repository's streams: tags below `oci/`, and below `oci-referrers/` what refers to
 * an image. A tag, and a digest, is one path component.
 */

/** The directory of tags among the references to streams. */
export const TAG_DIRECTORY = "oci";

/** The directory of the references to artifacts that say something about an image. */
export const REFERRER_DIRECTORY = "oci-referrers";

/** Longest file name, in bytes. */
const NAME_MAX = 255;

/** The reference's name for a tag: `oci/debian%2Fstable`. Throws for what cannot be a tag. */
export function tagRef(tag: string): string {
  const fail = (why: string) => new Error(`image name ${JSON.stringify(tag)}: ${why}`);
  if (tag === "") throw fail("expected a name");
  if (tag.startsWith("@")) throw fail("a leading @ is for digests");
  if (tag === "." || tag === ".." || /[\0-\x1f\x7f]/.test(tag)) {
    throw fail("expected printable characters, and neither . nor ..");
  }
  const encoded = encodeTag(tag);
  // At most four bytes of UTF-8 for each character.
  let bytes = 0;
  for (const char of encoded) {
    const code = char.codePointAt(0)!;
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  }
  if (bytes > NAME_MAX) throw fail(`${bytes} bytes, expected at most ${NAME_MAX}`);
  return `${TAG_DIRECTORY}/${encoded}`;
}

/** The directory of what refers to a manifest. */
export function referrersDirectory(subject: string): string {
  return `${REFERRER_DIRECTORY}/${encodeTag(subject)}`;
}

/** The reference's name for an artifact that has a subject; both are digests of manifests. */
export function referrerRef(subject: string, artifact: string): string {
  return `${referrersDirectory(subject)}/${encodeTag(artifact)}`;
}

/** A tag as a path component. */
export function encodeTag(tag: string): string {
  return tag.replaceAll("%", "%25").replaceAll("/", "%2F");
}

/** The tag that a path component stands for. Only what `encodeTag` writes is decoded, in one pass. */
export function decodeTag(component: string): string {
  return component.replaceAll(/%25|%2F/g, (code) => (code === "%25" ? "%" : "/"));
}
