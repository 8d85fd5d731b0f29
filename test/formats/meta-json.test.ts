import { describe, expect, test } from "vitest";
import {
  effectiveFormats,
  newMetadata,
  parseAlgorithm,
  parseMetadata,
  serializeMetadata,
  unknownReadOnlyFeatures,
} from "../../src/formats/meta-json.ts";

const V1_SHA512 = `{
  "version": 1,
  "algorithm": "fsverity-sha512-12",
  "features": {
    "compatible": [],
    "read-only-compatible": [
      "v1_erofs"
    ],
    "incompatible": []
  },
  "erofs_formats": {
    "default": 1
  }
}
`;

const V1_AND_V2_SHA256 = `{
  "version": 1,
  "algorithm": "fsverity-sha256-12",
  "features": {
    "compatible": [],
    "read-only-compatible": [
      "v1_erofs"
    ],
    "incompatible": []
  },
  "erofs_formats": {
    "default": 1,
    "extra": [
      0,
      2
    ]
  }
}
`;

const V2_SHA256 = `{
  "version": 1,
  "algorithm": "fsverity-sha256-12",
  "features": {
    "compatible": [],
    "read-only-compatible": [],
    "incompatible": []
  },
  "erofs_formats": {
    "default": 2
  }
}
`;

const file = (fields: object) =>
  JSON.stringify({ version: 1, algorithm: "fsverity-sha256-12", ...fields });

describe("writing", () => {
  test("gives the reference's bytes", () => {
    expect(serializeMetadata(newMetadata("sha512", 1))).toBe(V1_SHA512);
    expect(serializeMetadata(newMetadata("sha256", 1, [2, 0, 1, 2]))).toBe(V1_AND_V2_SHA256);
    expect(serializeMetadata(newMetadata("sha256", 2))).toBe(V2_SHA256);
    expect(serializeMetadata(newMetadata("sha256", 0))).toBe(
      V2_SHA256.replace('"default": 2', '"default": 0'),
    );
  });

  test("what was read comes out the same", () => {
    for (const text of [V1_SHA512, V1_AND_V2_SHA256, V2_SHA256]) {
      expect(serializeMetadata(parseMetadata(text))).toBe(text);
    }
  });
});

describe("formats of images", () => {
  const formats = (fields: object) => effectiveFormats(parseMetadata(file(fields)));
  const v1 = { "read-only-compatible": ["v1_erofs"] };

  test.each([
    ["nothing said: from before there was a choice", {}, 2, []],
    ["only the flag", { features: v1 }, 1, []],
    ["a plain default of 2", { erofs_formats: { default: 2 } }, 2, []],
    ["a plain default of 2 with the flag", { features: v1, erofs_formats: { default: 2 } }, 1, []],
    ["an explicit choice", { erofs_formats: { default: 0 } }, 0, []],
    [
      "an explicit choice with the flag",
      { features: v1, erofs_formats: { default: 2, extra: [1] } },
      2,
      [1],
    ],
    ["several", { features: v1, erofs_formats: { default: 1, extra: [2, 0] } }, 1, [0, 2]],
  ])("%s", (_, fields, expected, extra) => {
    expect(formats(fields)).toEqual({ default: expected, extra });
  });
});

describe("reading", () => {
  test("leaves unknown fields and compatible features alone", () => {
    const metadata = parseMetadata(file({ colour: "red", features: { compatible: ["shiny"] } }));
    expect(metadata.hash).toBe("sha256");
    expect(unknownReadOnlyFeatures(metadata)).toEqual([]);
  });

  test("tells which features forbid writing", () => {
    const features = { "read-only-compatible": ["v1_erofs", "v3_erofs"] };
    expect(unknownReadOnlyFeatures(parseMetadata(file({ features })))).toEqual(["v3_erofs"]);
  });

  test.each([
    ["", /not JSON/],
    ["[]", /an object expected/],
    [file({ version: 2 }), /version 2 is newer than 1/],
    [file({ version: "1" }), /"version": a number expected/],
    [file({ version: -1 }), /"version": a number expected/],
    [file({ algorithm: 12 }), /"algorithm": a string expected/],
    [file({ features: [] }), /"features": an object expected/],
    [file({ features: { compatible: "x" } }), /"features.compatible": a list of strings/],
    [file({ features: { incompatible: ["zap"] } }), /needs unknown features: zap/],
    [file({ erofs_formats: { default: 3 } }), /"erofs_formats.default": 0, 1 or 2 expected/],
    [file({ erofs_formats: {} }), /"erofs_formats.default": 0, 1 or 2 expected/],
    [file({ erofs_formats: { default: 1, extra: 2 } }), /"erofs_formats.extra": a list expected/],
  ])("refuses %s", (text, message) => {
    expect(() => parseMetadata(text)).toThrow(message);
  });
});

test.each([
  ["sha256-12", /"fsverity-" expected/],
  ["fsverity-sha256", /"-" and a block size expected/],
  ["fsverity-sha256-x", /block size is not a number/],
  ["fsverity-sha256-256", /block size is not a number/],
  ["fsverity-md5-16", /only block size 12/],
  ["fsverity-md5-12", /sha256 or sha512 expected/],
])("refuses the algorithm %s", (text, message) => {
  expect(() => parseAlgorithm(text)).toThrow(message);
});
