import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  chooseManifest,
  type Descriptor,
  isContainerImage,
  isDigest,
  isIndex,
  MAX_MANIFEST,
  MEDIA_TYPES,
  parseConfig,
  parseIndex,
  parseManifest,
  parsePlatform,
} from "../../src/formats/oci.ts";
import { decodeTag, encodeTag, tagRef } from "../../src/formats/oci-tag.ts";

const DIGEST = `sha256:${"0123456789abcdef".repeat(4)}`;
const bytes = (value: unknown) => new Uint8Array(Buffer.from(JSON.stringify(value)));
const descriptor = { mediaType: "x/y", digest: DIGEST, size: 12 };
const manifest = {
  schemaVersion: 2,
  config: { ...descriptor, mediaType: MEDIA_TYPES.config },
  layers: [descriptor],
};
const config = {
  os: "linux",
  architecture: "amd64",
  rootfs: { type: "layers", diff_ids: [DIGEST] },
};

describe("manifest", () => {
  test("is understood", () => {
    const parsed = parseManifest(
      bytes({
        ...manifest,
        mediaType: MEDIA_TYPES.manifest,
        layers: [{ ...descriptor, annotations: { a: "b" } }, descriptor],
        annotations: { c: "d" },
        unknown: { x: [1] },
      }),
      "m",
    );
    expect(parsed.config).toMatchObject({ digest: DIGEST, size: 12 });
    expect(parsed.layers).toHaveLength(2);
    expect(parsed.layers[0]!.annotations).toEqual({ a: "b" });
    expect(parsed.annotations).toEqual({ c: "d" });
    expect(isContainerImage(parsed)).toBe(true);
    const docker = { ...manifest, config: { ...descriptor, mediaType: MEDIA_TYPES.dockerConfig } };
    expect(isContainerImage(parseManifest(bytes(docker), "m"))).toBe(true);
  });

  test("of an artifact", () => {
    const empty = { ...descriptor, mediaType: "application/vnd.oci.empty.v1+json" };
    expect(isContainerImage(parseManifest(bytes({ ...manifest, config: empty }), "m"))).toBe(false);
  });

  test("fields that encoders leave null count as absent", () => {
    const nulls = { ...manifest, layers: null, annotations: null, mediaType: null };
    expect(parseManifest(bytes(nulls), "m")).toMatchObject({ layers: [], annotations: {} });
  });

  test("annotations have no names that were not there", () => {
    const parsed = parseManifest(bytes({ ...manifest, annotations: { a: "b" } }), "m");
    expect(parsed.annotations.toString).toBeUndefined();
    const own = `{"schemaVersion":2,"config":${JSON.stringify(descriptor)},"layers":[],"annotations":{"__proto__":"x"}}`;
    const { annotations } = parseManifest(new Uint8Array(Buffer.from(own)), "m");
    expect(Object.entries(annotations)).toEqual([["__proto__", "x"]]);
  });

  test.each<[unknown, string]>([
    [[], "m: expected an object"],
    [{ ...manifest, schemaVersion: 1 }, "m: schemaVersion: expected 2"],
    [{ ...manifest, schemaVersion: "2" }, "m: schemaVersion: expected a whole number"],
    [{ ...manifest, mediaType: MEDIA_TYPES.index }, "m: mediaType: expected"],
    [{ ...manifest, mediaType: 5 }, "m: mediaType: expected a string"],
    [{ ...manifest, manifests: [] }, "m: manifests: not expected in a manifest"],
    [{ ...manifest, config: undefined }, "m: config: expected an object"],
    [{ ...manifest, config: { ...descriptor, size: -1 } }, "m: config.size: expected a whole"],
    [{ ...manifest, config: { ...descriptor, size: 1.5 } }, "m: config.size: expected a whole"],
    [{ ...manifest, config: { ...descriptor, size: 2 ** 60 } }, "m: config.size: expected a whole"],
    [{ ...manifest, config: { ...descriptor, mediaType: undefined } }, "m: config.mediaType"],
    [{ ...manifest, layers: undefined }, "m: layers: expected a list"],
    [{ ...manifest, layers: {} }, "m: layers: expected a list"],
    [{ ...manifest, layers: [descriptor, 5] }, "m: layers[1]: expected an object"],
    [{ ...manifest, layers: [{ ...descriptor, digest: "sha256:ab" }] }, "m: layers[0].digest:"],
    [{ ...manifest, annotations: { a: 1 } }, "m: annotations.a: expected a string"],
  ])("%j is refused", (value, message) => {
    expect(() => parseManifest(bytes(value), "m")).toThrow(message);
  });

  test("what is not JSON, not UTF-8 or too long is refused", () => {
    expect(() => parseManifest(new Uint8Array(0), "m")).toThrow("m: expected JSON");
    expect(() => parseManifest(new Uint8Array([0x22, 0xff, 0x22]), "m")).toThrow(
      "m: expected JSON in UTF-8",
    );
    expect(() => parseManifest(new Uint8Array(MAX_MANIFEST + 1), "m")).toThrow("expected at most");
    const deep = new Uint8Array(Buffer.from("[".repeat(1_000_000)));
    expect(() => parseManifest(deep, "m")).toThrow("m: expected JSON");
  });

  test("any JSON is a manifest or a clear error", () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        const any = new Uint8Array(Buffer.from(text));
        for (const parse of [parseManifest, parseIndex, parseConfig]) {
          expect(() => parse(any, "doc")).toThrow(/^doc: /);
        }
      }),
    );
  });
});

describe("digests", () => {
  test.each([
    "",
    "sha256:",
    DIGEST.toUpperCase(),
    DIGEST.slice(0, -1),
    `${DIGEST}0`,
    `${DIGEST}\n`,
    `sha512:${"0".repeat(128)}`,
    "sha256:../../../../../../../../../../../../../../../../../../../../../../",
  ])("%j is none", (text) => {
    expect(isDigest(text)).toBe(false);
    expect(() =>
      parseManifest(bytes({ ...manifest, layers: [{ ...descriptor, digest: text }] }), "m"),
    ).toThrow(
      `m: layers[0].digest: expected sha256: and 64 lower-case hex digits, found ${JSON.stringify(text)}`,
    );
  });

  test("sha256 in lower case is one", () => expect(isDigest(DIGEST)).toBe(true));
});

describe("config", () => {
  test("is understood", () => {
    expect(
      parseConfig(
        bytes({ ...config, variant: "v8", created: "now", config: { Labels: { a: "b" }, Cmd: 5 } }),
        "c",
      ),
    ).toEqual({
      os: "linux",
      architecture: "amd64",
      variant: "v8",
      created: "now",
      labels: new Map([["a", "b"]]),
      diffIds: [DIGEST],
    });
  });

  test("may have no labels and no layers", () => {
    const parsed = parseConfig(
      bytes({ ...config, config: { Labels: null }, rootfs: { type: "layers", diff_ids: null } }),
      "c",
    );
    expect(parsed).toMatchObject({ labels: new Map(), diffIds: [], created: undefined });
  });

  test.each<[unknown, string]>([
    [{}, "c: rootfs: expected an object"],
    [{ ...config, os: undefined }, "c: os: expected a string, it is missing"],
    [{ ...config, architecture: 5 }, "c: architecture: expected a string"],
    [{ ...config, rootfs: { type: "x", diff_ids: [] } }, 'c: rootfs.type: expected "layers"'],
    [{ ...config, rootfs: { type: "layers" } }, "c: rootfs.diff_ids: expected a list"],
    [
      { ...config, rootfs: { type: "layers", diff_ids: [DIGEST, 1] } },
      "c: rootfs.diff_ids[1]: expected a string",
    ],
    [
      { ...config, rootfs: { type: "layers", diff_ids: ["x"] } },
      "c: rootfs.diff_ids[0]: expected sha256:",
    ],
    [{ ...config, config: { Labels: { a: [] } } }, "c: config.Labels.a: expected a string"],
  ])("%j is refused", (value, message) => {
    expect(() => parseConfig(bytes(value), "c")).toThrow(message);
  });
});

describe("index", () => {
  test("is told from a manifest", () => {
    const index = bytes({ schemaVersion: 2, manifests: [] });
    expect(isIndex(index, undefined)).toBe(true);
    expect(isIndex(index, MEDIA_TYPES.dockerIndex)).toBe(true);
    expect(isIndex(index, `${MEDIA_TYPES.manifest}; charset=utf-8`)).toBe(false);
    expect(isIndex(index, "application/json")).toBe(true);
    expect(isIndex(bytes(manifest), "application/json")).toBe(false);
    expect(isIndex(bytes({ mediaType: MEDIA_TYPES.index }), undefined)).toBe(true);
    expect(isIndex(bytes({ mediaType: MEDIA_TYPES.manifest, manifests: [] }), undefined)).toBe(
      false,
    );
  });

  test("does not take a document that is both", () => {
    expect(() => parseIndex(bytes({ ...manifest, manifests: [] }), "i")).toThrow(
      "i: config: not expected in an index",
    );
  });

  const entry = (platform?: string): Descriptor => ({
    ...descriptor,
    digest: platform ?? "none",
    annotations: {},
    platform: platform === undefined ? undefined : parsePlatform(platform),
  });
  const choose = (platform: string, ...offered: (string | undefined)[]) =>
    chooseManifest({ manifests: offered.map(entry) }, parsePlatform(platform)).digest;

  test.each([
    ["linux/amd64", ["linux/arm64", "linux/amd64"], "linux/amd64"],
    ["linux/amd64", ["unknown/unknown", "linux/amd64/v3", "linux/amd64"], "linux/amd64"],
    ["linux/amd64/v3", ["linux/amd64", "linux/amd64/v3"], "linux/amd64/v3"],
    ["linux/arm64", ["linux/arm/v7", "linux/arm64/v8"], "linux/arm64/v8"],
    ["linux/arm64/v8", ["linux/arm64"], "linux/arm64"],
    ["linux/arm", ["linux/arm/v6", "linux/arm/v7"], "linux/arm/v7"],
    ["linux/riscv64", [undefined], "none"],
  ])("%s of %j is %s", (platform, offered, chosen) => {
    expect(choose(platform, ...offered)).toBe(chosen);
  });

  test("has nothing for other platforms, and says for which", () => {
    expect(() => choose("linux/s390x", "linux/amd64", "linux/arm64/v8", undefined)).toThrow(
      "no image for linux/s390x, only for linux/amd64, linux/arm64/v8, any",
    );
    expect(() => choose("linux/amd64", "linux/amd64/v3")).toThrow("only for linux/amd64/v3");
    expect(() => choose("linux/amd64")).toThrow("nor for any other platform");
    expect(() => choose("linux/amd64", undefined, undefined)).toThrow("only for any");
  });

  test.each(["", "amd64", "linux/", "linux/amd64/v1/x", "Linux/amd64"])(
    "%j is no platform",
    (text) => expect(() => parsePlatform(text)).toThrow("expected OS/ARCHITECTURE[/VARIANT]"),
  );
});

describe("tags", () => {
  test.each([
    ["debian", "debian"],
    ["docker://quay.io/a/b:c", "docker:%2F%2Fquay.io%2Fa%2Fb:c"],
    ["100%", "100%25"],
    ["%2F", "%252F"],
    ["a/%2F", "a%2F%252F"],
  ])("%s is %s", (tag, encoded) => {
    expect(encodeTag(tag)).toBe(encoded);
    expect(decodeTag(encoded)).toBe(tag);
    expect(tagRef(tag)).toBe(`oci/${encoded}`);
  });

  test("only what is written is decoded", () => {
    expect(decodeTag("a%2fb%41%%2")).toBe("a%2fb%41%%2");
    expect(decodeTag("%252F")).toBe("%2F");
  });

  test("every tag comes back", () => {
    const tag = fc.string({ unit: fc.constantFrom("%", "/", "2", "5", "F", "ü", ":") });
    fc.assert(
      fc.property(tag, (text) => {
        expect(decodeTag(encodeTag(text))).toBe(text);
        expect(encodeTag(text)).not.toContain("/");
      }),
    );
  });

  test("of what cannot be one", () => {
    expect(() => tagRef("")).toThrow("expected a name");
    expect(() => tagRef("@sha256:x")).toThrow("a leading @ is for digests");
    for (const tag of [".", "..", "a\nb", "a\0"]) expect(() => tagRef(tag)).toThrow("printable");
    expect(() => tagRef("ü".repeat(128))).toThrow("256 bytes, expected at most 255");
    expect(tagRef("ü".repeat(127))).toBeDefined();
    expect(() => tagRef("/".repeat(86))).toThrow("258 bytes");
  });
});
