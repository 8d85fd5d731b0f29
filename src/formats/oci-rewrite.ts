/** Manifests whose layers have got other bytes: compressed anew, the same when decompressed. */
import { fromText, toBytes } from "./bytestring.ts";
import { type JsonObject, parseJson } from "./json-document.ts";
import { MAX_MANIFEST } from "./oci.ts";

/** What names a layer's new bytes. */
export interface NewBlob {
  readonly digest: string;
  /** In bytes. */
  readonly size: number;
}

/** Annotations that say what is where in a layer's compressed bytes: those of zstd:chunked and of eStargz. */
const POSITIONS =
  /^(?:io\.(?:github\.)?containers\.(?:zstd-chunked|estargz)\.|containerd\.io\/snapshot\/stargz\/)/;

/**
 * A manifest with some layers replaced; `replacement` is asked about each one's digest. All else stays as it is, but
 * what a descriptor says about its old bytes is left out. `name` is for messages.
 */
export function replaceLayers(
  manifest: Uint8Array,
  name: string,
  replacement: (digest: string) => NewBlob | undefined,
): Uint8Array {
  const document = parseJson(manifest, name, MAX_MANIFEST);
  const layers = document.objects("layers").map((layer) => {
    const replaced = replacement(layer.string("digest"));
    return replaced === undefined ? layer.value : describe(layer, replaced);
  });
  const text = JSON.stringify({ ...document.value, layers });
  return toBytes(fromText(text));
}

function describe(layer: JsonObject, { digest, size }: NewBlob): object {
  const { urls, data, annotations, ...rest } = layer.value;
  const kept = [...layer.stringMap("annotations")].filter(([key]) => !POSITIONS.test(key));
  const object = { ...rest, digest, size };
  return kept.length === 0 ? object : { ...object, annotations: Object.fromEntries(kept) };
}
