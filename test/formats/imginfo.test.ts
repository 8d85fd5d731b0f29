import { expect, test } from "vitest";
import { parseImageInfo } from "../../src/formats/imginfo.ts";

const bytes = (value: unknown) => Uint8Array.from(Buffer.from(JSON.stringify(value)));
const DIGEST = `sha256:${"a".repeat(64)}`;

const MANIFEST = {
  schemaVersion: 2,
  config: { mediaType: "application/vnd.oci.image.config.v1+json", digest: DIGEST, size: 3 },
  layers: [],
  annotations: { "org.opencontainers.image.version": "41.2025" },
};
const CONFIG = { created: "2025-01-01T00:00:00Z", architecture: "amd64", os: "linux" };

test("what an early deployment's file says", () => {
  expect(parseImageInfo(bytes({ config: CONFIG, manifest: MANIFEST }), "file")).toEqual({
    manifest: MANIFEST,
    config: CONFIG,
    version: "41.2025",
    created: "2025-01-01T00:00:00Z",
    architecture: "amd64",
    configDigest: DIGEST,
  });
});

test("what is not known is absent", () => {
  expect(parseImageInfo(bytes({ config: {}, manifest: { annotations: null } }), "file")).toEqual({
    manifest: { annotations: null },
    config: {},
  });
});

test.each([
  [{ config: {} }, "file: manifest: expected an object"],
  [{ manifest: {}, config: [] }, "file: config: expected an object"],
  [{ manifest: {}, config: { created: 1 } }, "file: config.created: expected a string"],
])("%j is refused", (value, why) => {
  expect(() => parseImageInfo(bytes(value), "file")).toThrow(why);
});
