/** Damage to images in a repository: found, and put back from where they came from. */
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { toHex } from "../../src/formats/digest.ts";
import { describeError } from "../../userspace/cli/errors.ts";
import { checkImages } from "../../userspace/oci/fsck.ts";
import { openImage, tagImage, untagImage } from "../../userspace/oci/image.ts";
import { openLayout } from "../../userspace/oci/layout.ts";
import { pull } from "../../userspace/oci/pull.ts";
import { parseReference, type Reference } from "../../userspace/oci/reference.ts";
import { openRegistry } from "../../userspace/oci/registry.ts";
import { repairImages } from "../../userspace/oci/repair.ts";
import {
  configContentId,
  configRef,
  manifestContentId,
  readDocument,
  writeConfigStream,
  writeManifestStream,
} from "../../userspace/oci/streams.ts";
import type { Transport } from "../../userspace/oci/transport.ts";
import type { Finding } from "../../userspace/repository/finding.ts";
import { checkRepository } from "../../userspace/repository/fsck.ts";
import { collectGarbage } from "../../userspace/repository/gc.ts";
import { initRepository } from "../../userspace/repository/init.ts";
import { objectFile } from "../../userspace/repository/layout.ts";
import { openRepository, type Repository } from "../../userspace/repository/repository.ts";
import { fakeVerity } from "../repository/fake-verity.ts";
import { platformOf, quickLinux } from "../repository/fixture.ts";
import { blob, descriptor, type Image, image, json, tar, writeLayout } from "./fixtures/images.ts";
import { RegistryServer } from "./fixtures/registry-server.ts";

const PLATFORM = { os: "linux", architecture: "amd64" };

const base = tar([
  { path: "usr/" },
  { path: "usr/lib", data: "l".repeat(5000) },
  { path: "usr/share", data: "s".repeat(200_000) },
  { path: "run/" },
  { path: "boot/" },
  { path: "boot/vmlinuz", data: "k".repeat(100) },
  { path: "sysroot/" },
]);
const top = tar([
  { path: "etc/" },
  { path: "etc/passwd", data: "p".repeat(700) },
  { path: "etc/hostname", data: "name\n" },
]);
const sample = image([
  { tar: base, compression: "gzip" },
  { tar: top, compression: "zstd" },
]);

let scratch: string;
let platform: ReturnType<typeof platformOf>;
let verity: ReturnType<typeof fakeVerity>;
beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), "repair-"));
  verity = fakeVerity(quickLinux);
  platform = platformOf(verity.linux);
});
afterEach(() => rmSync(scratch, { recursive: true }));

const path = (name = "") => join(scratch, "repo", name);
const open = () => openRepository(path(), { platform });

function initialize(insecure = true): void {
  initRepository(path(), { hash: "sha256", format: 1, insecure, platform });
}

async function openTransport(reference: Reference): Promise<Transport> {
  if (reference.transport === "oci") return openLayout(reference);
  if (reference.transport !== "docker") throw new Error(reference.transport);
  return openRegistry(reference, { tlsVerify: true, retryDelay: 1 });
}

async function pullAs(source: string, name = source, bootable = true): Promise<void> {
  using repository = open();
  const transport = await openTransport(parseReference(source));
  await pull(repository, transport, { name, platform: PLATFORM, bootable });
  await transport.close();
}

function layoutOf(...images: Image[]): string {
  const directory = join(scratch, "layout");
  writeLayout(
    directory,
    images.map((one, i) => ({ image: one, tag: `v${i + 1}` })),
  );
  return `oci:${directory}:v1`;
}

function check(repository: Repository): Finding<string>[] {
  return [...checkRepository(repository).findings, ...checkImages(repository).findings];
}

/** Checks, repairs what is found, and checks again. */
async function repaired(): Promise<{
  found: Finding<string>[];
  left: Finding<string>[];
  failures: string[];
  steps: string[];
}> {
  using repository = open();
  const found = check(repository);
  const steps: string[] = [];
  const failures = await repairImages(repository, found, {
    open: openTransport,
    onStep: (what) => steps.push(what),
  });
  return {
    found,
    left: check(repository),
    failures: failures.map(({ image, cause }) => `${image}: ${describeError(cause).message}`),
    steps,
  };
}

function collect(): void {
  using repository = open();
  collectGarbage(repository);
}

/** Every file with its size, every link with its target. */
function snapshot(): string[] {
  return readdirSync(path(), { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => {
      const name = join(entry.parentPath, entry.name);
      return `${name} ${entry.isSymbolicLink() ? readlinkSync(name) : statSync(name).size}`;
    })
    .sort();
}

const objects = () =>
  readdirSync(path("objects"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name))
    .sort();

function flip(file: string): void {
  const data = readFileSync(file);
  data[data.length >> 1]! ^= 1;
  rmSync(file);
  writeFileSync(file, data);
  verity.strip(-100, file);
}

const kindsOf = (findings: readonly Finding<string>[]) => [
  ...new Set(findings.map(({ kind }) => kind)),
];

describe("from a layout", () => {
  test.each(["insecure", "secure"] as const)(
    "%s: any one object that is damaged or missing is put back, and nothing else changes",
    async (kind) => {
      initialize(kind === "insecure");
      await pullAs(layoutOf(sample));
      collect();
      const before = snapshot();
      const all = objects();
      expect(all.length).toBe(12);
      for (const damage of [flip, rmSync]) {
        for (const object of all) {
          damage(object);
          const { found, left, failures } = await repaired();
          const name = `${damage.name} ${object}`;
          expect(found.length, name).toBeGreaterThan(0);
          expect([left, failures], name).toEqual([[], []]);
          collect(); // a config that has lost the names of its images is written in two steps
          expect(snapshot(), name).toEqual(before);
        }
      }
    },
    60_000,
  );

  test("all objects at once", async () => {
    initialize();
    await pullAs(layoutOf(sample));
    collect();
    const before = snapshot();
    for (const object of objects()) flip(object);
    const { left, failures } = await repaired();
    expect([left, failures]).toEqual([[], []]);
    collect();
    expect(snapshot()).toEqual(before);
  });

  test("a manifest whose link is gone, which the tag leads to, in a layout of several images", async () => {
    initialize();
    const other = image([{ tar: top, compression: "none" }]);
    const source = layoutOf(sample, other);
    await pullAs(source);
    rmSync(path(`streams/${manifestContentId(sample.manifest.digest)}`));
    const { found, left, failures } = await repaired();
    expect(kindsOf(found)).toEqual(["broken-symlink", "manifest-read-failed"]);
    expect([left, failures]).toEqual([[], []]);
  });

  test("two images that share a layer, of which one does not tell where it came from", async () => {
    initialize();
    const other = image([
      { tar: top, compression: "zstd" },
      { tar: base, compression: "gzip" },
    ]);
    const source = layoutOf(sample, other);
    await pullAs(source, "another name");
    await pullAs(source.replace("v1", "v2"));
    const shared = objects().find((object) => statSync(object).size === 5000)!;
    flip(shared);
    const { found, left, failures } = await repaired();
    expect(kindsOf(found)).toEqual(["object-digest-mismatch"]);
    expect([left, failures]).toEqual([[], []]);
  });
});

describe("from a registry", () => {
  let server: RegistryServer;
  beforeEach(async () => {
    server = await RegistryServer.start();
    initialize();
  });
  afterEach(() => server.close());

  function serve({ manifest, config, layers }: Image, tag: string): string {
    for (const one of [config, ...layers]) server.blobs.set(one.digest, one.bytes);
    for (const key of [manifest.digest, tag]) server.manifests.set(key, manifest);
    return `docker://${server.host}/some/image:${tag}`;
  }
  const fetched = () =>
    server.requests
      .map(({ path }) => path)
      .filter((path) => path !== "/v2/")
      .map((path) => path.replace(/.*\//, ""));

  test("only the layer that has the object is fetched, whatever the tag is by now", async () => {
    await pullAs(serve(sample, "v1"));
    serve(image([{ tar: top, compression: "none" }]), "v1");
    flip(objects().find((object) => statSync(object).size === 700)!);
    server.requests.length = 0;
    const { left, failures, steps } = await repaired();
    expect([left, failures]).toEqual([[], []]);
    expect(fetched()).toEqual([sample.layers[1]!.digest]);
    expect(steps).toEqual([`layer ${sample.layers[1]!.digest}`]);
  });

  test("documents are fetched by their digests", async () => {
    await pullAs(serve(sample, "v1"));
    serve(image([{ tar: top, compression: "none" }]), "v1");
    for (const { size } of [sample.manifest, sample.config]) {
      rmSync(objects().find((object) => statSync(object).size === size)!);
    }
    server.requests.length = 0;
    const { left, failures } = await repaired();
    expect([left, failures]).toEqual([[], []]);
    expect(fetched()).toEqual([sample.manifest.digest, sample.config.digest]);
  });

  test("filesystem images are made again without it", async () => {
    await pullAs(serve(sample, "v1"));
    using repository = open();
    for (const hex of repository.listImages()) rmSync(path(objectFile(Buffer.from(hex, "hex"))));
    repository.close();
    server.requests.length = 0;
    const { left, failures } = await repaired();
    expect([left, failures]).toEqual([[], []]);
    expect(server.requests).toEqual([]);
  });

  test("a layer that is not what it was is refused, and what is left is said", async () => {
    const source = serve(sample, "v1");
    await pullAs(source);
    const object = objects().find((one) => statSync(one).size === 700)!;
    flip(object);
    const { digest, bytes } = sample.layers[1]!;
    server.blobs.set(digest, Buffer.concat([bytes.subarray(0, -1), Buffer.from([1])]));
    const damaged = readFileSync(object);
    const wrong = await repaired();
    expect(wrong.failures).toEqual([
      expect.stringContaining(`${source}: layer 2 (${digest}): has the digest sha256:`),
    ]);
    expect(kindsOf(wrong.left)).toContain("object-digest-mismatch");
    server.blobs.delete(digest);
    expect((await repaired()).failures).toEqual([expect.stringContaining("404")]);
    expect(readFileSync(object)).toEqual(damaged);
    server.blobs.set(digest, bytes);
    expect((await repaired()).left).toEqual([]);
  });
});

describe("artifacts", () => {
  const SIGNATURE = "application/vnd.example.signature";
  const MANIFEST = "application/vnd.oci.image.manifest.v1+json";

  function artifact(contents: string[], subject?: Image): Image {
    const layers = contents.map((content) => blob(SIGNATURE, Buffer.from(content)));
    const config = json("application/vnd.oci.empty.v1+json", {});
    const document = {
      schemaVersion: 2,
      mediaType: MANIFEST,
      artifactType: SIGNATURE,
      config: descriptor(config),
      layers: layers.map(descriptor),
      ...(subject && { subject: descriptor(subject.manifest) }),
    };
    return { manifest: json(MANIFEST, document), config, layers, diffIds: [] };
  }

  /** Damages and removes each object in turn. */
  async function everyObject(): Promise<void> {
    const before = snapshot();
    const objects = readdirSync(path("objects"), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name));
    for (const object of objects) {
      for (const damage of ["cut", "changed", "gone"]) {
        const content = readFileSync(object);
        rmSync(object);
        if (damage === "cut") writeFileSync(object, content.subarray(0, content.length >> 1));
        if (damage === "changed") {
          content[content.length >> 1]! ^= 1;
          writeFileSync(object, content);
        }
        const { found, left, failures } = await repaired();
        expect(found.length, `${object} ${damage}`).toBeGreaterThan(0);
        expect({ left, failures }).toEqual({ left: [], failures: [] });
        collect();
        expect(snapshot()).toEqual(before);
      }
    }
    expect(objects.length).toBeGreaterThan(4);
  }

  test("get each of their objects back", async () => {
    initialize();
    await pullAs(layoutOf(artifact(["one".repeat(300), "two"])), undefined, false);
    await everyObject();
  });

  test("that share a config with others", async () => {
    initialize();
    const source = layoutOf(artifact(["one".repeat(300)]), artifact(["two".repeat(500)]));
    await pullAs(source, undefined, false);
    await pullAs(source.replace(":v1", ":v2"), undefined, false);
    await everyObject();
  });

  test("that have no name get theirs from where what they refer to came from", async () => {
    initialize();
    const signature = artifact(["signature".repeat(100)], sample);
    const of = artifact(["about the signature".repeat(100)], signature);
    const source = layoutOf(sample, signature, of);
    await pullAs(source);
    for (const name of ["v2", "v3"]) {
      await pullAs(source.replace(":v1", `:${name}`), name, false);
      using repository = open();
      untagImage(repository, name);
    }
    collect();
    const before = snapshot();
    {
      using repository = open();
      for (const { diffId } of [signature, of].map(({ layers }) => ({
        diffId: layers[0]!.digest,
      }))) {
        const stream = repository.readStream(`oci-layer-${diffId}`);
        rmSync(path(objectFile(stream.objectRefs[0]!)));
      }
    }
    const { found, left, failures, steps } = await repaired();
    expect(found.length).toBeGreaterThan(1);
    expect({ left, failures }).toEqual({ left: [], failures: [] });
    expect(steps).toEqual([signature, of].map(({ layers }) => `layer ${layers[0]!.digest}`));
    collect();
    expect(snapshot()).toEqual(before);
  });

  test("whose name tells nothing are named in what is left", async () => {
    initialize();
    await pullAs(layoutOf(artifact(["one".repeat(300)])), "mine", false);
    {
      using repository = open();
      const { layers } = openImage(repository, "mine");
      rmSync(path(objectFile(repository.readStreamObject(layers[0]!.stream).objectRefs[0]!)));
    }
    const { left, failures } = await repaired();
    expect(failures).toEqual(["mine: its name does not tell where it came from"]);
    expect(left.map(({ kind }) => kind).sort()).toEqual([
      "artifact-layer-object-missing",
      "missing-object-ref",
    ]);
  });
});

test("an image whose name tells nothing: what can be made again is, and the rest is said", async () => {
  initialize();
  await pullAs(layoutOf(sample), "name");
  using repository = open();
  const [hex] = repository.listImages();
  repository.close();
  rmSync(path(objectFile(Buffer.from(hex!, "hex"))));
  expect((await repaired()).left).toEqual([]);
  flip(objects().find((object) => statSync(object).size === 5000)!);
  const { left, failures } = await repaired();
  expect(kindsOf(left)).toEqual(["object-digest-mismatch"]);
  expect(failures).toEqual(["name: its name does not tell where it came from"]);
});

test("fs-verity that is not enabled is, where the content is right", async () => {
  initialize(false);
  await pullAs(layoutOf(sample), "name");
  for (const object of objects()) verity.strip(-100, object);
  const { found, left, failures, steps } = await repaired();
  expect(found.filter(({ kind }) => kind === "object-verity-missing").length).toBe(
    objects().length,
  );
  expect([left, failures]).toEqual([[], []]);
  expect(steps[0]).toMatch(/^object [0-9a-f]{64}: fs-verity enabled$/);
});

test("an image that comes out differently is not put in the place of the lost one", async () => {
  initialize();
  const source = layoutOf(sample);
  await pullAs(source, source, false);
  using repository = open();
  const { config, layers, manifest } = openImage(repository, source);
  const foreign = repository.writeImage(Buffer.from("made by another program".padEnd(100)));
  const refs = layers.map(({ digest, stream }) => [digest, stream] as const);
  const images = [["composefs.image.v1", foreign]] as const;
  const stream = writeConfigStream(repository, config.digest, config.bytes, refs, images);
  const named = { digest: config.digest, stream };
  writeManifestStream(repository, manifest!.digest, manifest!.bytes, named, refs);
  repository.close();
  rmSync(path(objectFile(foreign)));
  const { left, failures } = await repaired();
  expect(failures).toEqual([
    `${source}: made again, it comes out differently: composefs.image.v1 ${toHex(foreign)}`,
  ]);
  expect(kindsOf(left)).toEqual(["missing-named-ref", "broken-symlink"]);
});

describe("images that are not whole", () => {
  /** What is found after some damage to the repository, without the checks of the repository itself. */
  async function found(damage: (repository: Repository) => void): Promise<string[]> {
    initialize();
    await pullAs(layoutOf(sample), "tag");
    using repository = open();
    damage(repository);
    const { checked, corrupted, findings } = checkImages(repository);
    expect(checked).toBe(1);
    expect(corrupted).toBe(findings.length > 0 ? 1 : 0);
    return findings.map(
      ({ kind, where, what, cause }) =>
        `${kind}: ${where}: ${what ?? describeError(cause).message}`,
    );
  }
  const { manifest, config, diffIds } = sample;
  const streamOf = (repository: Repository, contentId: string) =>
    repository.streamObject(contentId)!;
  const layersOf = (repository: Repository) =>
    diffIds.map((id) => [id, streamOf(repository, `oci-layer-${id}`)] as const);
  /** The manifest's stream with another document or with other names. */
  const rewriteManifest = (
    repository: Repository,
    { bytes = manifest.bytes as Uint8Array, configDigest = config.digest, of = manifest.digest },
  ) =>
    writeManifestStream(
      repository,
      of,
      bytes,
      { digest: configDigest, stream: streamOf(repository, configContentId(config.digest)) },
      [],
    );
  const rewriteConfig = (
    repository: Repository,
    layers: Iterable<readonly [string, Uint8Array]>,
    bytes: Uint8Array = config.bytes,
  ) => {
    writeConfigStream(repository, config.digest, bytes, layers);
    rewriteManifest(repository, {});
  };

  test("nothing is found in one that is", async () => {
    expect(await found(() => {})).toEqual([]);
  });

  test("ref-resolve-failed, invalid-ref-name", async () => {
    expect(
      await found(() => {
        renameSync(path("streams/refs/oci/tag"), path("streams/refs/oci/@tag"));
      }),
    ).toEqual(["invalid-ref-name: @tag: a leading @ is for digests"]);
    rmSync(path(), { recursive: true });
    expect(
      await found(() => {
        rmSync(path("streams/refs/oci/tag"));
        symlinkSync("../../oci-layer-x", path("streams/refs/oci/tag"));
      }),
    ).toEqual(["ref-resolve-failed: tag: it leads to ../../oci-layer-x, which is no manifest"]);
  });

  test("manifest-read-failed", async () => {
    expect(
      await found((repository) =>
        rmSync(path(objectFile(streamOf(repository, manifestContentId(manifest.digest))))),
      ),
    ).toEqual([`manifest-read-failed: tag: there is no ${manifestContentId(manifest.digest)}`]);
  });

  test("manifest-digest-mismatch", async () => {
    const other = Buffer.from("{}".padEnd(100));
    expect(await found((repository) => rewriteManifest(repository, { bytes: other }))).toEqual([
      `manifest-digest-mismatch: tag: ${manifest.digest} has the digest ${blob("", other).digest}`,
    ]);
  });

  test("manifest-parse-failed", async () => {
    const other = blob("", Buffer.from("{}".padEnd(100)));
    const texts = await found((repository) => {
      rewriteManifest(repository, { bytes: other.bytes, of: other.digest });
      tagImage(repository, other.digest, "tag");
    });
    expect(texts).toEqual([
      expect.stringMatching(/^manifest-parse-failed: tag: sha256:.*expected/),
    ]);
  });

  test("config-ref-missing, config-read-failed, config-digest-mismatch", async () => {
    expect(
      await found((repository) => rewriteManifest(repository, { configDigest: manifest.digest })),
    ).toEqual([`config-ref-missing: tag: no reference to ${config.digest}`]);
    rmSync(path(), { recursive: true });
    expect(
      await found((repository) =>
        rmSync(path(objectFile(streamOf(repository, configContentId(config.digest))))),
      ),
    ).toEqual([expect.stringMatching(/^config-read-failed: tag: .*no object [0-9a-f]{64}$/)]);
    rmSync(path(), { recursive: true });
    const other = Buffer.from("{}".padEnd(100));
    expect(
      await found((repository) => rewriteConfig(repository, layersOf(repository), other)),
    ).toEqual([
      `config-digest-mismatch: tag: ${config.digest} has the digest ${blob("", other).digest}`,
    ]);
  });

  test("layer-ref-missing, layer-stream-missing, layer-object-missing, layer-check-failed", async () => {
    expect(
      await found((repository) => rewriteConfig(repository, layersOf(repository).slice(0, 1))),
    ).toEqual([`layer-ref-missing: tag: no reference to ${diffIds[1]}`]);
    rmSync(path(), { recursive: true });
    expect(
      await found((repository) => rmSync(path(objectFile(layersOf(repository)[0]![1])))),
    ).toEqual([`layer-stream-missing: tag: layer ${diffIds[0]}: its stream is missing`]);
    rmSync(path(), { recursive: true });
    expect(
      await found(() => rmSync(objects().find((object) => statSync(object).size === 5000)!)),
    ).toEqual([
      expect.stringMatching(`^layer-object-missing: tag: layer ${diffIds[0]}: object .* missing$`),
    ]);
    rmSync(path(), { recursive: true });
    expect(
      await found((repository) => flip(path(objectFile(layersOf(repository)[0]![1])))),
    ).toEqual([
      expect.stringMatching(`^layer-check-failed: tag: layer ${diffIds[0]}: object .* is damaged`),
    ]);
  });

  test("config-parse-failed and seal-image-missing", async () => {
    const documents = {
      "config-parse-failed": { rootfs: {} },
      "seal-image-missing": {
        os: "linux",
        architecture: "amd64",
        config: { Labels: { "containers.composefs.fsverity": "ab".repeat(32) } },
        rootfs: { type: "layers", diff_ids: [] },
      },
    };
    for (const [kind, document] of Object.entries(documents)) {
      const other = json(config.mediaType, document);
      const newer = json(manifest.mediaType, {
        schemaVersion: 2,
        mediaType: manifest.mediaType,
        config: descriptor(other),
        layers: [],
      });
      const texts = await found((repository) => {
        const stream = writeConfigStream(repository, other.digest, other.bytes, []);
        const named = { digest: other.digest, stream };
        writeManifestStream(repository, newer.digest, newer.bytes, named, []);
        tagImage(repository, newer.digest, "tag");
      });
      expect(texts).toEqual([expect.stringMatching(`^${kind}: tag: `)]);
      rmSync(path(), { recursive: true });
    }
  });

  test("artifact-layer-ref-missing, artifact-layer-object-missing", async () => {
    const empty = json("application/vnd.oci.empty.v1+json", {});
    const one = blob("text/plain", Buffer.from("signature".repeat(20)));
    const two = blob("text/plain", Buffer.from("another".repeat(20)));
    const artifact = json(manifest.mediaType, {
      schemaVersion: 2,
      mediaType: manifest.mediaType,
      config: descriptor(empty),
      layers: [one, two].map(descriptor),
    });
    const texts = await found((repository) => {
      const refs = [[one.digest, new Uint8Array(32)]] as const;
      const padded = empty.bytes;
      const stream = writeConfigStream(repository, empty.digest, padded, refs);
      const named = { digest: empty.digest, stream };
      writeManifestStream(repository, artifact.digest, artifact.bytes, named, refs);
      tagImage(repository, artifact.digest, "tag");
    });
    expect(texts).toEqual([
      `artifact-layer-object-missing: tag: layer ${one.digest}: its stream is missing`,
      `artifact-layer-ref-missing: tag: no reference to ${two.digest}`,
    ]);
  });

  test("a manifest's name of its config is what counts", async () => {
    const texts = await found((repository) => {
      const stream = streamOf(repository, manifestContentId(manifest.digest));
      const { refs } = readDocument(repository, stream, "oci-manifest", "m", 1 << 20);
      expect(refs.has(configRef(config.digest))).toBe(true);
      rmSync(path(`streams/${configContentId(config.digest)}`));
    });
    expect(texts).toEqual([]);
  });
});
