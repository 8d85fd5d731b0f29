/** References of images as deployments' origins have them, and as the commands that fetch take them. */
import { resolve } from "node:path";
import type { OriginImage, Transport } from "../../src/formats/origin.ts";
import { formatLocation, parseLocation } from "../oci/location.ts";
import { hasTransport, parseReference, type Reference } from "../oci/reference.ts";

/**
 * What a person names: a reference with its transport, or, as bootc has it, a name of the given one. Paths become absolute.
 * Of a name in a registry with a tag and a digest the digest counts, and the tag goes. Throws for what is none.
 */
export function parseTarget(text: string, transport: Transport | undefined): OriginImage {
  const whole =
    transport === undefined && hasTransport(text)
      ? text
      : sourceOf({ transport: transport ?? "registry", name: text, signature: undefined });
  return originOf(parseReference(whole));
}

/** The reference, as `parseReference` takes it. */
export function sourceOf({ transport, name }: OriginImage): string {
  return transport === "registry" ? `docker://${name}` : `${transport}:${name}`;
}

function originOf(reference: Reference): OriginImage {
  const signature = undefined;
  const { transport, source } = reference;
  const name = source.slice(source.indexOf(":") + 1);
  switch (transport) {
    case "docker": {
      const { tag, digest } = reference;
      const given = name.slice("//".length);
      if (tag === undefined || digest === undefined) {
        return { transport: "registry", name: given, signature };
      }
      const location = formatLocation({ ...reference, tag: undefined });
      return { transport: "registry", name: location, signature };
    }
    case "oci":
    case "dir": {
      const rest = name.slice(reference.directory.length);
      return { transport, name: resolve(reference.directory) + rest, signature };
    }
    case "oci-archive":
    case "docker-archive": {
      const rest = name.slice(reference.file.length);
      return { transport, name: resolve(reference.file) + rest, signature };
    }
    default:
      return { transport, name, signature };
  }
}

/** The image with another tag; a digest goes. Throws where there are no tags. */
export function withTag(image: OriginImage, tag: string): OriginImage {
  const named = (name: string) => {
    parseReference(sourceOf({ ...image, name })); // throws for what is no tag
    return { ...image, name };
  };
  const reference = parseReference(sourceOf(image));
  switch (reference.transport) {
    case "docker": {
      const location = { ...parseLocation(image.name), tag, digest: undefined };
      return named(formatLocation(location));
    }
    case "oci":
      return named(`${reference.directory}:${tag}`);
    case "oci-archive":
      return named(`${reference.file}:${tag}`);
    default:
      throw new Error(`images of ${image.transport}: have no tags that could be replaced`);
  }
}
