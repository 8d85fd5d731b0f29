/** Which objects are needed: on repositories that are nothing but data. */
import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ascii, type ByteString } from "../../src/formats/bytestring.ts";
import { toHex } from "../../src/formats/digest.ts";
import { DigestSet } from "../../src/model/digest-set.ts";
import {
  deadEntries,
  findLive,
  findRoots,
  type Links,
  type ObjectReader,
} from "../../src/model/liveness.ts";

const digestOf = (name: string) => new Uint8Array(createHash("sha256").update(name).digest());

interface Stream {
  readonly objects?: readonly string[];
  readonly named?: readonly string[];
}

/** A repository of objects that are called by names. */
interface Model {
  readonly streams?: Readonly<Record<string, Stream>>;
  readonly images?: Readonly<Record<string, readonly string[]>>;
  /** Entry: object. */
  readonly streamLinks?: Readonly<Record<string, string>>;
  readonly imageLinks?: Readonly<Record<string, string>>;
  /** Reference: entry. */
  readonly streamRefs?: Readonly<Record<string, string>>;
  readonly imageRefs?: Readonly<Record<string, string>>;
}

function build(model: Model): { links: Links; read: ObjectReader } {
  const table = (entries: Model["streamLinks"] = {}, refs: Model["streamRefs"] = {}) => ({
    entries: new Map(
      Object.entries(entries).map(([name, object]) => [ascii(name), digestOf(object)] as const),
    ),
    refs: Object.entries(refs).map(([name, target]) => ({
      name: ascii(name),
      target: ascii(target),
    })),
  });
  const find = <T>(objects: Readonly<Record<string, T>> | undefined, digest: Uint8Array) =>
    Object.entries(objects ?? {}).find(([name]) => toHex(digestOf(name)) === toHex(digest))?.[1];
  return {
    links: {
      streams: table(model.streamLinks, model.streamRefs),
      images: table(model.imageLinks, model.imageRefs),
    },
    read: {
      stream: (digest) => {
        const stream = find(model.streams, digest);
        if (stream === undefined) return undefined;
        const { objects = [], named = [] } = stream;
        return { objects: objects.map(digestOf), named: named.map(digestOf) };
      },
      image: (digest) => {
        const objects = find(model.images, digest);
        if (objects === undefined) throw new Error("no image");
        return objects.map(digestOf);
      },
    },
  };
}

/** The names, of those given, that are live. */
function live(model: Model, names: string, more: readonly ByteString[] = []): string {
  const { links, read } = build(model);
  const found = findLive(findRoots(links, more), links, read, "sha256");
  return names
    .split(" ")
    .filter((name) => found.has(digestOf(name)))
    .join(" ");
}

/** An image as composefs-oci stores it. */
const image: Model = {
  streams: {
    manifest: { objects: ["manifest.json"], named: ["config", "layer"] },
    config: { objects: ["config.json"], named: ["layer", "erofs"] },
    layer: { objects: ["file1", "file2"] },
  },
  images: { erofs: ["file1", "file2"] },
  streamLinks: { m: "manifest", c: "config", l: "layer" },
  imageLinks: { e: "erofs" },
};
const ALL = "manifest manifest.json config config.json layer file1 file2 erofs other";

describe("what is live", () => {
  test("a tag keeps the manifest, and through it config, layers, files and filesystem image", () => {
    expect(live({ ...image, streamRefs: { "oci/tag": "m" } }, ALL)).toBe(
      "manifest manifest.json config config.json layer file1 file2 erofs",
    );
  });

  test("without a reference nothing is, whatever is linked (composefs-rs#200)", () => {
    expect(live(image, ALL)).toBe("");
  });

  test("a reference to an image keeps its files' objects, not the streams that have them, too", () => {
    expect(live({ ...image, imageRefs: { name: "e" } }, ALL)).toBe("file1 file2 erofs");
  });

  test("a filesystem image that a config names is kept, and not asked for its files", () => {
    const odd = { ...image, images: { erofs: ["file1", "file2", "other"] } };
    expect(live({ ...odd, streamRefs: { t: "c" } }, ALL)).toBe(
      "config config.json layer file1 file2 erofs",
    );
  });

  test("names of streams and images are kept on demand", () => {
    expect(live(image, ALL, [ascii("l")])).toBe("layer file1 file2");
    expect(live(image, ALL, [ascii("e")])).toBe("file1 file2 erofs");
  });

  test("streams that name each other come to an end", () => {
    const circle: Model = {
      streams: { a: { named: ["b"] }, b: { named: ["a", "c"] }, c: { objects: ["o"] } },
      streamLinks: { a: "a" },
      streamRefs: { r: "a" },
    };
    expect(live(circle, "a b c o")).toBe("a b c o");
  });

  test("a stream that a config names is asked, also where its link has gone to another one", () => {
    const repointed: Model = {
      ...image,
      streams: { ...image.streams, layer2: { objects: ["file1", "other"] } },
      streamLinks: { ...image.streamLinks, l: "layer2" },
      streamRefs: { "oci/tag": "m" },
    };
    expect(live(repointed, `${ALL} layer2`)).toBe(
      "manifest manifest.json config config.json layer file1 file2 erofs",
    );
  });

  test("of two manifests with one config, the one with the older stream of it keeps that one's", () => {
    const shared: Model = {
      streams: {
        ...image.streams,
        manifest2: { objects: ["manifest2.json"], named: ["config2", "layer"] },
        config2: { objects: ["config.json"], named: ["layer", "erofs", "boot"] },
      },
      streamLinks: { m: "manifest", m2: "manifest2", c: "config2", l: "layer" },
      streamRefs: { "oci/tag": "m" },
    };
    expect(live(shared, `${ALL} config2 boot`)).toBe(
      "manifest manifest.json config config.json layer file1 file2 erofs",
    );
  });
});

/** The live names as composefs-rs finds them: a named stream is followed while some link leads to its object. */
function liveByLinks({ streams = {}, streamLinks = {}, streamRefs = {} }: Model): Set<string> {
  const found = new Set<string>();
  const entryOf = new Map(Object.entries(streamLinks).map(([entry, object]) => [object, entry]));
  const asked = new Set<string>();
  const pending = Object.values(streamRefs);
  for (let entry = pending.pop(); entry !== undefined; entry = pending.pop()) {
    if (asked.has(entry)) continue;
    asked.add(entry);
    const object = streamLinks[entry]!;
    found.add(object);
    for (const one of streams[object]?.objects ?? []) found.add(one);
    for (const named of streams[object]?.named ?? []) {
      found.add(named);
      if (entryOf.has(named)) pending.push(entryOf.get(named)!);
    }
  }
  return found;
}

describe("beside composefs-rs", () => {
  const OBJECTS = Array.from({ length: 12 }, (_, i) => `o${i}`);
  const STREAMS = Array.from({ length: 8 }, (_, i) => `s${i}`);
  const stream = fc.record({
    objects: fc.subarray(OBJECTS),
    named: fc.subarray([...STREAMS, "erofs"], { maxLength: 3 }),
  });
  const streams = fc
    .tuple(...STREAMS.map(() => stream))
    .map((all) => Object.fromEntries(all.map((one, i) => [STREAMS[i]!, one])));
  const refs = fc
    .subarray(STREAMS, { minLength: 1, maxLength: 3 })
    .map((all) => Object.fromEntries(all.map((name) => [`ref-${name}`, `link-${name}`])));
  const namesOf = (model: Model) =>
    new Set(live(model, [...OBJECTS, ...STREAMS, "erofs"].join(" ")).split(" "));

  test("the same is live where every stream has its link", () => {
    const streamLinks = Object.fromEntries(STREAMS.map((name) => [`link-${name}`, name]));
    fc.assert(
      fc.property(streams, refs, (all, streamRefs) => {
        const model = { streams: all, streamLinks, streamRefs };
        expect(namesOf(model)).toEqual(liveByLinks(model));
      }),
    );
  });

  test("nothing less is, and all that it needs, where links have gone elsewhere", () => {
    const targets = fc.tuple(...STREAMS.map(() => fc.constantFrom(...STREAMS)));
    fc.assert(
      fc.property(streams, refs, targets, (all, streamRefs, linked) => {
        const links = STREAMS.map((name, i) => [`link-${name}`, linked[i]!]);
        const model = { streams: all, streamLinks: Object.fromEntries(links), streamRefs };
        const found = namesOf(model);
        for (const name of liveByLinks(model)) expect(found).toContain(name);
        for (const name of found) {
          const { objects = [], named = [] } = (all as Record<string, Stream>)[name] ?? {};
          for (const needed of [...objects, ...named]) expect(found).toContain(needed);
        }
      }),
    );
  });
});

describe("when it cannot be known, nothing is said", () => {
  test("a reference leads to nothing", () => {
    const { links } = build({ ...image, streamRefs: { "oci/a": "gone", b: "m" } });
    expect(() => findRoots(links)).toThrow("what streams/refs/oci/a leads to is not there");
  });

  test("a stream that is linked and needed is missing", () => {
    const lost: Model = { ...image, streams: { manifest: image.streams!.manifest! } };
    expect(() => live({ ...lost, streamRefs: { t: "m" } }, ALL)).toThrow(
      /streams\/[cl] leads to no stream/,
    );
  });

  test("an image is unreadable", () => {
    const lost: Model = { ...image, images: {}, imageRefs: { name: "e" } };
    expect(() => live(lost, ALL)).toThrow("images/e");
  });

  test("but a missing image that a config names only is nothing new", () => {
    const { links, read } = build({ ...image, images: {}, streamRefs: { t: "c" } });
    expect(findLive(findRoots(links), links, read, "sha256").has(digestOf("erofs"))).toBe(true);
  });
});

test("entries are dead when their objects are not kept", () => {
  const { links } = build({ ...image, streamRefs: { t: "l" } });
  const kept = toHex(digestOf("layer"));
  expect(deadEntries(links, (digest) => toHex(digest) === kept)).toEqual({
    streams: ["c", "m"],
    images: ["e"],
  });
});

describe("a set of digests", () => {
  test("has what a Map has, with the index of the first time", () => {
    fc.assert(
      fc.property(
        // few first bytes, so that they meet
        fc.array(fc.tuple(fc.nat(3), fc.nat(400)), { maxLength: 3000 }),
        fc.array(fc.nat(400), { maxLength: 50 }),
        (added, asked) => {
          const digest = (first: number, n: number) => {
            const bytes = new Uint8Array(64);
            bytes[0] = first;
            bytes[63] = n & 255;
            bytes[40] = n >> 8;
            return bytes;
          };
          const set = new DigestSet("sha512");
          const map = new Map<string, number>();
          for (const [first, n] of added) {
            const key = toHex(digest(first, n));
            if (!map.has(key)) map.set(key, map.size);
            expect(set.add(digest(first, n))).toBe(map.get(key));
          }
          expect(set.size).toBe(map.size);
          for (const n of asked) {
            expect(set.indexOf(digest(1, n))).toBe(map.get(toHex(digest(1, n))) ?? -1);
          }
          expect([...set].map(toHex)).toEqual([...map.keys()]);
        },
      ),
      { numRuns: 30 },
    );
  });

  test("takes no digest of another hash", () => {
    const set = new DigestSet("sha256");
    expect(() => set.add(new Uint8Array(64))).toThrow("32 expected");
    expect(set.has(new Uint8Array(64))).toBe(false);
  });
});
