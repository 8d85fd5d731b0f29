import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  mergeRegistriesConf,
  parseRegistriesConf,
  type RegistriesConf,
} from "../../src/formats/registries-conf.ts";

const parse = (text: string): RegistriesConf => parseRegistriesConf(text, "f.conf");

test("everything that there is", () => {
  const conf = parse(`
    unqualified-search-registries = ["a.example/", "b.example"]
    credential-helpers = ["containers-auth.json", "secretservice"]
    short-name-mode = "enforcing"
    [[registry]]
    prefix = "example.com/foo"
    location = "internal.example/bar/"
    insecure = true
    blocked = true
    [[registry.mirror]]
    location = "m1.example"
    [[registry.mirror]]
    location = "m2.example:5000/x"
    insecure = true
    pull-from-mirror = "digest-only"
    [[registry]]
    location = "plain.example"
    mirror-by-digest-only = true
    [[registry.mirror]]
    location = "m3.example"
    [[registry]]
    prefix = "*.wild.example"
    [aliases]
    debian = "docker.io/library/debian"
    gone = ""
  `);
  const mirror = { insecure: false, use: "all" };
  expect(conf.searchRegistries).toEqual(["a.example", "b.example"]);
  expect(conf.credentialHelpers).toEqual(["containers-auth.json", "secretservice"]);
  expect([...conf.registries.values()]).toEqual([
    {
      prefix: "example.com/foo",
      location: "internal.example/bar",
      insecure: true,
      blocked: true,
      mirrors: [
        { ...mirror, location: "m1.example" },
        { location: "m2.example:5000/x", insecure: true, use: "digest-only" },
      ],
    },
    {
      prefix: "plain.example",
      location: "plain.example",
      insecure: false,
      blocked: false,
      mirrors: [{ ...mirror, location: "m3.example", use: "digest-only" }],
    },
    { prefix: "*.wild.example", location: "", insecure: false, blocked: false, mirrors: [] },
  ]);
  expect(Object.fromEntries(conf.aliases)).toEqual({
    debian: "docker.io/library/debian",
    gone: "",
  });
});

test("the older format", () => {
  const conf = parse(`
    [registries.search]
    registries = ["a.example"]
    [registries.insecure]
    registries = ["i.example", "both.example"]
    [registries.block]
    registries = ["both.example"]
  `);
  expect(conf.searchRegistries).toEqual(["a.example"]);
  expect([...conf.registries.values()]).toMatchObject([
    { prefix: "i.example", location: "i.example", insecure: true, blocked: false },
    { prefix: "both.example", insecure: true, blocked: true },
  ]);
});

test("later files replace prefixes, aliases and lists", () => {
  const first = parse(`
    unqualified-search-registries = ["a.example"]
    credential-helpers = ["one"]
    [[registry]]
    location = "x.example"
    blocked = true
    [[registry]]
    location = "y.example"
    blocked = true
    [aliases]
    a = "a.example/a"
    b = "b.example/b"
  `);
  const then = parse(`
    unqualified-search-registries = []
    [[registry]]
    location = "x.example"
    [aliases]
    a = ""
  `);
  const conf = mergeRegistriesConf(first, then);
  expect(conf.searchRegistries).toEqual([]);
  expect(conf.credentialHelpers).toEqual(["one"]);
  expect([...conf.registries].map(([prefix, { blocked }]) => [prefix, blocked])).toEqual([
    ["x.example", false],
    ["y.example", true],
  ]);
  expect([...conf.aliases.values()]).toEqual(["", "b.example/b"]);
});

describe("refused, naming the file and the key", () => {
  test.each([
    ["[[registry]]", "f.conf: registry[0].location: expected a location, or a prefix"],
    ['[[registry]]\nprefix = "a.example"', "registry[0].location: expected a location"],
    ['[[registry]]\nlocation = "https://a"', "registry[0].location: expected no http:// or"],
    ['[[registry]]\nprefix = "*.a/b"', 'registry[0].prefix: expected "*." and a domain'],
    ['[[registry]]\nlocation = "a"\nblocked = 1', "registry[0].blocked: expected true or false"],
    ['[[registry]]\nlocation = "a"\npull-from-mirror = "all"', "expected in [[registry.mirror]]"],
    ['[[registry]]\nlocation = "a"\n[[registry.mirror]]', "registry[0].mirror[0].location"],
    [
      '[[registry]]\nlocation = "a"\n[[registry.mirror]]\nlocation = "b"\npull-from-mirror = "x"',
      "expected one of all, digest-only, tag-only",
    ],
    [
      '[[registry]]\nlocation = "a"\nmirror-by-digest-only = true\n[[registry.mirror]]\nlocation = "b"\npull-from-mirror = "all"',
      "not expected beside mirror-by-digest-only",
    ],
    ["registry = 1", "registry: expected [[registry]]"],
    ['unqualified-search-registries = "a"', "expected a list of strings"],
    ["[aliases]\na = 1", "aliases.a: expected a string"],
    ["[registries.search]\n[[registry]]", "registry: not expected beside [registries]"],
    ["x = ", "f.conf, line 1"],
  ])("%s", (text, why) => {
    expect(() => parse(text)).toThrow(why);
    expect(() => parse(text)).toThrow("f.conf");
  });

  test("whatever is not understood ends in an error that names the file", () => {
    const value = fc.oneof(fc.string(), fc.constantFrom("[[registry]]", "[aliases]", "\n", "="));
    fc.assert(
      fc.property(fc.array(value, { maxLength: 12 }), (parts) => {
        try {
          parse(parts.join(""));
        } catch (error) {
          expect((error as Error).message).toContain("f.conf");
        }
      }),
      { numRuns: 1000 },
    );
  });
});
