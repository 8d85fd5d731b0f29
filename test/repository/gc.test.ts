/** Garbage collection: what stays, what goes, and that nothing goes when that is not known. */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { toHex } from "../../src/formats/digest.ts";
import { describeError } from "../../userspace/cli/errors.ts";
import { checkRepository } from "../../userspace/repository/fsck.ts";
import { collectGarbage } from "../../userspace/repository/gc.ts";
import { objectFile } from "../../userspace/repository/layout.ts";
import { openRepository, type Repository } from "../../userspace/repository/repository.ts";
import {
  bytes,
  documentOf,
  type Fixture,
  imageOf,
  newRepository,
  platformOf,
  streamOf,
} from "./fixture.ts";
import { troubleAt } from "./trouble.ts";

const content = (text: string) => bytes(text.padEnd(100, "."));

interface Stored {
  readonly file: Uint8Array;
  readonly json: Uint8Array;
  readonly image: Uint8Array;
  readonly layer: Uint8Array;
  readonly config: Uint8Array;
}

/** A layer with a file, an image of it, and a config that names both. */
function store(repository: Repository, name: string, ref?: string): Stored {
  const object = repository.storeObject(content(`file of ${name}`)).digest;
  const layer = repository.writeStream(`oci-layer-${name}`, streamOf("sha256", [object]), {
    existing: "keep",
  });
  const image = repository.writeImage(imageOf([object]));
  const json = repository.storeObject(content(`json of ${name}`)).digest;
  const config = repository.writeStream(
    `oci-config-${name}`,
    documentOf("sha256", json, { [`sha256:${name}`]: layer, "composefs.image": image }),
    { existing: "replace", ...(ref === undefined ? {} : { ref }) },
  );
  return { file: object, json, image, layer, config };
}

/** All files and links, with what links hold. */
function snapshot(path: string): string[] {
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map(({ parentPath, name }) => join(parentPath, name).slice(path.length + 1))
    .sort();
}

const messageOf = (action: () => unknown): string => {
  try {
    action();
  } catch (error) {
    return describeError(error).message;
  }
  throw new Error("no error");
};

const has = (fixture: Fixture, digest: Uint8Array) =>
  existsSync(join(fixture.path, objectFile(digest)));

describe.each(["secure", "insecure"] as const)("%s", (kind) => {
  test("what a reference leads to stays; the rest goes, and the links to it", () => {
    using fixture = newRepository(kind);
    using repository = fixture.open();
    const kept = store(repository, "a", "oci/tag");
    const before = snapshot(fixture.path);
    const lost = store(repository, "b");
    const sizes = Object.values(lost).map((digest) => repository.objectSize(digest));

    const expected = {
      objectsRemoved: 5,
      objectsBytes: sizes.reduce((sum, size) => sum + size, 0),
      imagesPruned: 1,
      streamsPruned: 2,
    };
    const full = snapshot(fixture.path);
    expect(collectGarbage(repository, { dryRun: true })).toEqual(expected);
    expect(snapshot(fixture.path)).toEqual(full);

    expect(collectGarbage(repository)).toEqual(expected);
    expect(snapshot(fixture.path)).toEqual(before);
    for (const digest of Object.values(kept)) repository.readObject(digest);
    expect(checkRepository(repository).findings).toEqual([]);
    expect(collectGarbage(repository)).toEqual({
      objectsRemoved: 0,
      objectsBytes: 0,
      imagesPruned: 0,
      streamsPruned: 0,
    });
  });

  test("an image that a reference leads to keeps its files", () => {
    using fixture = newRepository(kind);
    using repository = fixture.open();
    const { file, image, layer } = store(repository, "a");
    repository.setRef("images", "deep/er/name", toHex(image));
    collectGarbage(repository);
    expect([file, image, layer].map((digest) => has(fixture, digest))).toEqual([true, true, false]);
    expect(repository.listStreams()).toEqual([]);
    expect(repository.listImages()).toEqual([toHex(image)]);
  });

  test("at whatever call it is interrupted, the repository is sound, and the next run completes it", () => {
    let calls = 0;
    for (let nth = 1; ; nth++) {
      using fixture = newRepository(kind);
      {
        using repository = fixture.open();
        store(repository, "a", "oci/tag");
        const old = store(repository, "b");
        repository.setRef("images", "b", toHex(old.image));
        repository.removeRef("images", "b");
      }
      const trouble = troubleAt(fixture.platform.linux, nth, "death");
      try {
        using repository = openRepository(fixture.path, { platform: platformOf(trouble.linux) });
        collectGarbage(repository);
      } catch {}
      trouble.bury();
      if (!trouble.happened()) break;
      calls++;
      using repository = fixture.open();
      expect(checkRepository(repository).findings, `call ${nth}`).toEqual([]);
      collectGarbage(repository);
      expect(repository.listStreams(), `call ${nth}`).toEqual(["oci-config-a", "oci-layer-a"]);
      expect(collectGarbage(repository, { dryRun: true }).objectsRemoved).toBe(0);
      expect(checkRepository(repository).objects).toEqual({ checked: 5, corrupted: 0 });
    }
    expect(calls).toBeGreaterThan(60);
  });
});

test("names on demand keep what they stand for; a name that nothing has ends it before it begins", () => {
  using fixture = newRepository("insecure");
  using repository = fixture.open();
  const { image } = store(repository, "a");
  const before = snapshot(fixture.path);
  expect(messageOf(() => collectGarbage(repository, { roots: ["oci-config-b"] }))).toBe(
    "there is no stream and no image oci-config-b",
  );
  expect(snapshot(fixture.path)).toEqual(before);
  collectGarbage(repository, { roots: ["oci-config-a", toHex(image)] });
  expect(snapshot(fixture.path)).toEqual(before);
});

test("a layer whose link another writer has re-pointed keeps its files as long as a config names it", () => {
  using fixture = newRepository("insecure");
  using repository = fixture.open();
  const { file, layer } = store(repository, "a", "oci/tag");
  // as an implementation may that does not keep layers: the same files, another splitstream
  const link = join(fixture.path, "streams/oci-layer-a");
  const other = repository.writeStream("other", streamOf("sha256", [], "x"), { existing: "keep" });
  rmSync(link);
  symlinkSync(`../${objectFile(other)}`, link);
  collectGarbage(repository);
  expect([file, layer, other].map((digest) => has(fixture, digest))).toEqual([true, true, false]);
});

test("of a config that was rewritten, a manifest that names the older stream keeps that one's document and images", () => {
  using fixture = newRepository("insecure");
  using repository = fixture.open();
  const a = store(repository, "a");
  const json = repository.storeObject(content("manifest")).digest;
  const manifest = documentOf("sha256", json, { "config:a": a.config, "sha256:a": a.layer });
  repository.writeStream("oci-manifest-b", manifest, { existing: "replace", ref: "oci/b" });
  // the other manifest that had it is gone, and with it the link's newer stream
  repository.writeStream("oci-config-a", documentOf("sha256", a.json, { "sha256:a": a.layer }), {
    existing: "replace",
  });
  collectGarbage(repository);
  for (const digest of Object.values(a)) expect(has(fixture, digest)).toBe(true);
  expect(repository.listImages()).toEqual([toHex(a.image)]);
});

test("streams with the header of the first releases are asked, too", () => {
  using fixture = newRepository("insecure");
  using repository = fixture.open();
  const object = repository.storeObject(content("file")).digest;
  const stream = streamOf("sha256", [object]);
  const info = stream.slice(16, 32);
  stream.copyWithin(18, 0, 12); // magic and version
  stream.set(info, 0);
  stream.set([0, 0], 16);
  stream.set([1, 12], 30);
  repository.writeStream("old", stream, { existing: "keep", ref: "old" });
  collectGarbage(repository);
  expect(has(fixture, object)).toBe(true);
  expect(checkRepository(repository).findings).toEqual([]);
});

test("references are kept whatever bytes their names are of", () => {
  using fixture = newRepository("insecure");
  using repository = fixture.open();
  const { file } = store(repository, "a");
  mkdirSync(join(fixture.path, "streams/refs"));
  const name = Buffer.concat([
    Buffer.from(join(fixture.path, "streams/refs/")),
    Buffer.from([0xff, 0xfe]),
  ]);
  symlinkSync("../oci-config-a", name);
  collectGarbage(repository);
  expect(has(fixture, file)).toBe(true);
});

test("what is not ours is left alone", () => {
  using fixture = newRepository("insecure");
  using repository = fixture.open();
  const { file } = store(repository, "a", "oci/tag");
  const foreign = [
    "objects/README",
    `${objectFile(file).slice(0, 10)}/README`,
    `objects/00/${"0".repeat(126)}`,
    `objects/${"00"}/${"F".repeat(62)}`,
    "streams/note",
    "images/refs/note",
    "note",
  ];
  for (const path of foreign) {
    mkdirSync(join(fixture.path, path, ".."), { recursive: true });
    writeFileSync(join(fixture.path, path), path);
  }
  mkdirSync(join(fixture.path, `objects/00/${"0".repeat(62)}`));
  symlinkSync("/nowhere", join(fixture.path, "streams/foreign"));
  const before = snapshot(fixture.path);
  expect(collectGarbage(repository).objectsRemoved).toBe(0);
  expect(snapshot(fixture.path)).toEqual(before);
  expect(existsSync(join(fixture.path, `objects/00/${"0".repeat(62)}`))).toBe(true);
});

test("what interrupted writers have left goes, and so do links to objects that are not there", () => {
  using fixture = newRepository("insecure");
  using repository = fixture.open();
  const { image } = store(repository, "a");
  store(repository, "b", "oci/b");
  rmSync(join(fixture.path, objectFile(image)));
  writeFileSync(join(fixture.path, "objects/.tmp-object-abcdefghijkl"), "x");
  symlinkSync("x", join(fixture.path, ".symlink-abcdefghijkl"));
  expect(collectGarbage(repository, { roots: ["oci-config-a"] })).toEqual({
    objectsRemoved: 0,
    objectsBytes: 0,
    imagesPruned: 1,
    streamsPruned: 0,
  });
  expect(snapshot(fixture.path).filter((path) => /tmp|symlink/.test(path))).toEqual([]);
});

describe("nothing is removed", () => {
  const refuses = (damage: (fixture: Fixture, stored: Stored) => void, message: RegExp) => {
    using fixture = newRepository("insecure");
    using repository = fixture.open();
    const stored = store(repository, "a", "oci/tag");
    store(repository, "garbage");
    repository.setRef("images", "name", toHex(stored.image));
    damage(fixture, stored);
    const before = snapshot(fixture.path);
    expect(messageOf(() => collectGarbage(repository))).toMatch(message);
    expect(messageOf(() => collectGarbage(repository, { dryRun: true }))).toMatch(message);
    expect(snapshot(fixture.path)).toEqual(before);
  };
  const flip = (fixture: Fixture, digest: Uint8Array, offset: number) => {
    const path = join(fixture.path, objectFile(digest));
    const data = readFileSync(path);
    data[offset]! ^= 1;
    writeFileSync(path, data);
  };

  test("when a reference leads to nothing", () => {
    refuses(
      ({ path }) => rmSync(join(path, "streams/oci-config-a")),
      /what is needed is not known: what streams\/refs\/oci\/tag leads to is not there$/,
    );
  });

  test("when a stream is missing, or damaged anywhere", () => {
    refuses(
      ({ path }, { layer }) => rmSync(join(path, objectFile(layer))),
      /streams\/oci-layer-a leads to no stream$/,
    );
    refuses(({ path }, { config }) => rmSync(join(path, objectFile(config))), /oci-config-a leads/);
    // in the magic, in the table of objects, in compressed data
    for (const offset of [3, 40, 130, 150]) {
      refuses((fixture, { layer }) => flip(fixture, layer, offset), /damaged|leads to no stream/);
    }
  });

  test("when an image is missing or damaged that a reference leads to", () => {
    refuses(({ path }, { image }) => rmSync(join(path, objectFile(image))), /images\/.*no object/);
    refuses((fixture, { image }) => flip(fixture, image, 1200), /images\/.*is damaged/);
  });
});

test("it waits for those who have the repository open; a dry run does not", () => {
  using fixture = newRepository("insecure");
  using reader = fixture.open();
  using repository = fixture.open();
  store(repository, "a");
  expect(collectGarbage(repository, { dryRun: true }).objectsRemoved).toBe(5);
  let waited = 0;
  collectGarbage(repository, {
    onWait: () => {
      waited++;
      reader.close();
    },
  });
  expect(waited).toBe(1);
});
