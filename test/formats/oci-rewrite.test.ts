import { describe, expect, test } from "vitest";
import { replaceLayers } from "../../src/formats/oci-rewrite.ts";

const digest = (letter: string) => `sha256:${letter.repeat(64)}`;
const mediaType = "application/vnd.oci.image.layer.v1.tar+zstd";
const layer = (letter: string, more: object = {}) => ({
  mediaType,
  digest: digest(letter),
  size: 1,
  ...more,
});
const manifest = (layers: object[], more: object = {}) => ({
  schemaVersion: 2,
  config: { mediaType: "c", digest: digest("c"), size: 3 },
  layers,
  ...more,
});

function replace(document: object, replacements: Record<string, { digest: string; size: number }>) {
  const bytes = replaceLayers(Buffer.from(JSON.stringify(document)), "manifest", (old) =>
    Object.hasOwn(replacements, old) ? replacements[old] : undefined,
  );
  return Buffer.from(bytes).toString();
}

describe("replaced layers", () => {
  test("get another digest and size, in place; all else stays, in its order", () => {
    const unknown = { "x.y": [1, { z: null }], subject: layer("s"), annotations: { ü: "€" } };
    const document = manifest([layer("a", { more: 1 }), layer("b"), layer("a")], unknown);
    const fresh = { digest: digest("f"), size: 77 };
    expect(replace(document, { [digest("a")]: fresh })).toBe(
      JSON.stringify(
        manifest([layer("a", { more: 1, ...fresh }), layer("b"), layer("a", fresh)], unknown),
      ),
    );
  });

  test("lose what was said about their old bytes, and nothing else", () => {
    const old = {
      urls: ["https://example.com/blob"],
      data: "AAAA",
      annotations: {
        "io.github.containers.zstd-chunked.manifest-checksum": "x",
        "io.github.containers.zstd-chunked.manifest-position": "1:2:3:1",
        "io.containers.zstd-chunked.manifest-checksum": "x",
        "containerd.io/snapshot/stargz/toc.digest": "x",
        "io.containers.estargz.uncompressed-size": "5",
        "org.example.title": "kept",
      },
    };
    const chunked = { annotations: { "io.github.containers.zstd-chunked.manifest-checksum": "x" } };
    const document = manifest([layer("a", old), layer("b", chunked), layer("d", old)]);
    const { layers } = JSON.parse(
      replace(document, {
        [digest("a")]: { digest: digest("1"), size: 1 },
        [digest("b")]: { digest: digest("2"), size: 2 },
      }),
    );
    expect(layers).toEqual([
      { mediaType, digest: digest("1"), size: 1, annotations: { "org.example.title": "kept" } },
      { mediaType, digest: digest("2"), size: 2 },
      layer("d", old),
    ]);
  });

  test("of what is no manifest are an error", () => {
    expect(() => replace({ layers: [1] }, {})).toThrow("manifest: layers[0]: expected an object");
    expect(() => replace([], {})).toThrow("manifest: expected an object");
  });
});
