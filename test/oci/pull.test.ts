import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { ImagePlatform } from "../../src/formats/oci.ts";
import { checkImages } from "../../userspace/oci/fsck.ts";
import { openImage } from "../../userspace/oci/image.ts";
import { openSource } from "../../userspace/oci/open.ts";
import { type PullResult, pull } from "../../userspace/oci/pull.ts";
import { parseReference } from "../../userspace/oci/reference.ts";
import { writeConfigStream, writeManifestStream } from "../../userspace/oci/streams.ts";
import { initRepository } from "../../userspace/repository/init.ts";
import { openRepository } from "../../userspace/repository/repository.ts";
import {
  blob,
  type Compression,
  compress,
  descriptor,
  type Image,
  image,
  indexEntries,
  json,
  type Tagged,
  tar,
  writeBlobs,
  writeLayout,
} from "./fixtures/images.ts";
import { RegistryServer } from "./fixtures/registry-server.ts";

const PLATFORM = { os: "linux", architecture: "amd64" };
const big = (seed: number, size = 5000) =>
  Buffer.from(Array.from({ length: size }, (_, i) => (i * seed) >> 4));

const base = tar([
  { path: "usr/" },
  { path: "usr/bin/" },
  { path: "usr/bin/sh", mode: 0o755, data: big(7) },
  { path: "etc/" },
  { path: "etc/hostname", data: "base\n" },
]);
const top = tar([
  { path: "usr/" },
  { path: "usr/bin/" },
  { path: "usr/bin/tool", mode: 0o755, data: big(11, 200_000) },
  { path: "etc/" },
  { path: "etc/.wh.hostname" },
]);

let scratch: string;
let server: RegistryServer;
beforeEach(async () => {
  scratch = mkdtempSync(join(tmpdir(), "pull-"));
  server = await RegistryServer.start();
});
afterEach(async () => {
  await server.close();
  rmSync(scratch, { recursive: true });
});

function repositoryPath(name = "repo"): string {
  const path = join(scratch, name);
  initRepository(path, { hash: "sha256", format: 1, insecure: true });
  return path;
}

interface Request {
  readonly repo: string;
  readonly source: string;
  readonly name?: string;
  readonly platform?: ImagePlatform;
}

async function pullInto({ repo, source, name, platform }: Request): Promise<PullResult> {
  const reference = parseReference(source);
  using repository = openRepository(repo);
  const transport = await openSource(reference, {
    platform: PLATFORM,
    retryDelay: 1,
    places: { env: {}, uid: 0, system: [] },
  });
  try {
    return await pull(repository, transport, {
      name: name ?? source,
      platform: platform ?? PLATFORM,
      bootable: false,
    });
  } finally {
    await transport.close();
  }
}

function layout(images: readonly Tagged[], name = "layout"): string {
  const directory = join(scratch, name);
  writeLayout(directory, images);
  return `oci:${directory}`;
}

function serve({ manifest, config, layers }: Image, tag: string): string {
  for (const one of [config, ...layers]) server.blobs.set(one.digest, one.bytes);
  for (const key of [manifest.digest, tag]) server.manifests.set(key, manifest);
  return `docker://${server.host}/some/image:${tag}`;
}

/** All that has a name in a repository, but for its objects. */
function named(repo: string): string[] {
  const names: string[] = [];
  for (const directory of ["streams", "images"]) {
    try {
      for (const name of readdirSync(join(repo, directory), { recursive: true }) as string[])
        if (!statSync(join(repo, directory, name)).isDirectory()) names.push(name);
    } catch (error) {
      expect((error as NodeJS.ErrnoException).code).toBe("ENOENT");
    }
  }
  return names.sort();
}

/** Every path of a repository with what tells whether it was written again. */
function state(repo: string): string[] {
  return (readdirSync(repo, { recursive: true }) as string[]).sort().map((path) => {
    const { ino, mtimeMs, size } = statSync(join(repo, path));
    return `${path} ${ino} ${mtimeMs} ${size}`;
  });
}

/** The message of a failure and of what caused it. */
async function failure(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    const messages: string[] = [];
    for (let at: unknown = error; at instanceof Error; at = at.cause) messages.push(at.message);
    return messages.join(": ");
  }
  throw new Error("did not fail");
}

describe("the same image is the same, wherever it comes from, as OCI and as Docker has it (bootc#1703, bootc#2218)", () => {
  test.each<[Compression, "oci" | "docker"]>([
    ["none", "oci"],
    ["gzip", "oci"],
    ["zstd", "oci"],
    ["none", "docker"],
    ["gzip", "docker"],
    ["zstd", "docker"],
  ])("%s layers, %s media types", async (compression, kind) => {
    const plain = image([
      { tar: base, compression: "none" },
      { tar: top, compression: "none" },
    ]);
    const expected = await pullInto({
      repo: repositoryPath("a"),
      source: layout([{ image: plain }]),
    });
    const other = image(
      [
        { tar: base, compression },
        { tar: top, compression },
      ],
      { kind },
    );
    const repo = repositoryPath("b");
    const result = await pullInto({ repo, source: serve(other, "v1") });
    expect(result.image).toBe(expected.image);
    expect(result.manifestDigest).toBe(other.manifest.digest);
    expect(result.configDigest).toBe(other.config.digest);
    expect(named(repo)).toEqual(
      [
        result.image,
        ...other.diffIds.map((id) => `oci-layer-${id}`),
        `oci-config-${other.config.digest}`,
        `oci-manifest-${other.manifest.digest}`,
        `refs/oci/docker:%2F%2F${server.host}%2Fsome%2Fimage:v1`,
      ].sort(),
    );
  });

  test("gzip of several members, zstd of several frames and frames to be skipped", async () => {
    const third = Math.floor(base.length / 3);
    const parts = [
      base.subarray(0, third),
      base.subarray(third, 2 * third),
      base.subarray(2 * third),
    ];
    const skippable = Buffer.concat([
      Buffer.from([0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0]),
      Buffer.from("abc"),
    ]);
    const images = (["gzip", "zstd"] as const).map((compression) => {
      const plain = image([{ tar: base, compression }]);
      const members = parts.map((part) => compress(part, compression));
      const bytes = Buffer.concat(compression === "zstd" ? [...members, skippable] : members);
      const layer = blob(plain.layers[0]!.mediaType, bytes);
      const manifest = json(plain.manifest.mediaType, {
        ...JSON.parse(plain.manifest.bytes.toString()),
        layers: [descriptor(layer)],
      });
      return { ...plain, manifest, layers: [layer] };
    });
    const digests = [];
    for (const [i, one] of images.entries())
      digests.push(
        (await pullInto({ repo: repositoryPath(`r${i}`), source: serve(one, `t${i}`) })).image,
      );
    const plain = image([{ tar: base, compression: "none" }]);
    const expected = await pullInto({ repo: repositoryPath(), source: layout([{ image: plain }]) });
    expect(digests).toEqual([expected.image, expected.image]);
  });
});

describe("which image of several", () => {
  const amd64 = image([{ tar: base, compression: "gzip" }]);
  const arm64 = image(
    [
      { tar: base, compression: "gzip" },
      { tar: top, compression: "gzip" },
    ],
    {
      architecture: "arm64",
    },
  );
  const platforms: Tagged[] = [
    { image: amd64, platform: { os: "linux", architecture: "amd64" } },
    { image: arm64, platform: { os: "linux", architecture: "arm64" } },
  ];
  const index = json("application/vnd.oci.image.index.v1+json", {
    schemaVersion: 2,
    manifests: indexEntries(platforms),
  });

  test("by platform, from a registry", async () => {
    serve(amd64, "x");
    serve(arm64, "y");
    server.manifests.set("multi", index);
    const source = `docker://${server.host}/some/image:multi`;
    const repo = repositoryPath();
    const pulled = await pullInto({ repo, source });
    expect(pulled.manifestDigest).toBe(amd64.manifest.digest);
    const arm = await pullInto({ repo, source, platform: { os: "linux", architecture: "arm64" } });
    expect(arm.manifestDigest).toBe(arm64.manifest.digest);
    expect(
      await failure(pullInto({ repo, source, platform: { os: "linux", architecture: "s390x" } })),
    ).toContain("no image for linux/s390x, only for linux/amd64, linux/arm64");
  });

  test("from a layout: by tag, by platform, through an index in the index, or the only one", async () => {
    const repo = repositoryPath();
    const tagged = layout([
      { image: amd64, tag: "one" },
      { image: arm64, tag: "two" },
    ]);
    expect((await pullInto({ repo, source: `${tagged}:two` })).manifestDigest).toBe(
      arm64.manifest.digest,
    );
    expect(await failure(pullInto({ repo, source: `${tagged}:three` }))).toContain(
      'no tag "three"; there is one, two',
    );
    expect(await failure(pullInto({ repo, source: tagged }))).toContain(
      "expected one of the tags one, two",
    );
    expect((await pullInto({ repo, source: layout(platforms, "p") })).manifestDigest).toBe(
      amd64.manifest.digest,
    );
    const nested = layout([{ image: { ...amd64, manifest: index }, tag: "both" }], "n");
    writeBlobs(join(scratch, "n"), [amd64.manifest, arm64.manifest, arm64.config, ...arm64.layers]);
    expect((await pullInto({ repo, source: nested })).manifestDigest).toBe(amd64.manifest.digest);
  });
});

describe("what is refused, nothing gets a name", () => {
  const good = image([
    { tar: base, compression: "gzip" },
    { tar: top, compression: "gzip" },
  ]);
  let repo: string;
  beforeEach(() => {
    repo = repositoryPath();
  });

  test.each<[string, (bytes: Buffer) => Buffer, string]>([
    ["short", (bytes) => bytes.subarray(0, -10), "ends after"],
    ["long", (bytes) => Buffer.concat([bytes, Buffer.alloc(5)]), "is longer than"],
    [
      "changed",
      (bytes) => Buffer.concat([bytes.subarray(0, -1), Buffer.from("x")]),
      "; expected sha256:",
    ],
  ])("a layer that is %s", async (_, damage, why) => {
    const source = serve(
      image([
        { tar: base, compression: "gzip" },
        { tar: top, compression: "none" },
      ]),
      "t",
    );
    const layer = JSON.parse(Buffer.from(server.manifests.get("t")!.bytes).toString()).layers[1];
    server.blobs.set(layer.digest, damage(Buffer.from(server.blobs.get(layer.digest)!)));
    const message = await failure(pullInto({ repo, source }));
    expect(message).toMatch(new RegExp(`^layer 2 \\(${layer.digest}\\): `));
    expect(message).toContain(why);
    // the other layer is what it says it is
    expect(named(repo).filter((name) => !name.includes(good.diffIds[0]!))).toEqual([]);
  });

  test("a layer whose tar is not that of the diff_id", async () => {
    const wrong = image([{ tar: base, compression: "gzip" }], { diffIds: [good.diffIds[1]!] });
    expect(await failure(pullInto({ repo, source: serve(wrong, "t") }))).toBe(
      `layer 1 (${wrong.layers[0]!.digest}): has the digest ${good.diffIds[0]} when decompressed; the config states the diff_id ${good.diffIds[1]}`,
    );
    expect(named(repo)).toEqual([]);
  });

  test.each<[string, (layer: Buffer) => Buffer, Compression]>([
    ["is cut off in the tar", () => compress(base.subarray(0, 3000), "gzip"), "gzip"],
    ["is cut off in the gzip", (layer) => layer.subarray(0, -20), "gzip"],
    ["is cut off in the zstd", (layer) => layer.subarray(0, -20), "zstd"],
    ["is no gzip", () => Buffer.from("hello, world"), "gzip"],
    ["is no zstd", () => Buffer.from("hello, world"), "zstd"],
    ["is no tar", () => compress(Buffer.alloc(3000, 65), "gzip"), "gzip"],
  ])("a layer that has its digest but %s", async (_, make, compression) => {
    const plain = image([{ tar: base, compression }]);
    const layer = blob(plain.layers[0]!.mediaType, make(plain.layers[0]!.bytes));
    const manifest = json(plain.manifest.mediaType, {
      ...JSON.parse(plain.manifest.bytes.toString()),
      layers: [descriptor(layer)],
    });
    const source = serve({ ...plain, manifest, layers: [layer] }, "t");
    expect(await failure(pullInto({ repo, source }))).toContain(`layer 1 (${layer.digest}): `);
    expect(named(repo)).toEqual([]);
  });

  test("a config that is not what its digest says, or has not one diff_id for each layer", async () => {
    const source = serve(good, "t");
    server.blobs.set(good.config.digest, Buffer.from("{}"));
    expect(await failure(pullInto({ repo, source }))).toContain(
      `config ${good.config.digest}: ends after 2 of`,
    );
    const few = image([{ tar: base, compression: "gzip" }], { diffIds: good.diffIds });
    expect(await failure(pullInto({ repo, source: serve(few, "u") }))).toContain(
      "states 2 diff_ids; the manifest has 1 layers",
    );
    expect(named(repo)).toEqual([]);
  });

  test("layers that are no tar", async () => {
    const types = JSON.parse(good.manifest.bytes.toString());
    types.layers[1].mediaType = "application/x-zip";
    const odd = { ...good, manifest: json(good.manifest.mediaType, types) };
    expect(await failure(pullInto({ repo, source: serve(odd, "t") }))).toContain(
      "has the media type application/x-zip; expected a tar layer",
    );
    expect(named(repo)).toEqual([]);
    expect(server.requests.some(({ path }) => path.includes("/blobs/"))).toBe(false);
  });

  test("a layout that lacks a blob, and a directory that is none", async () => {
    const source = layout([{ image: good }]);
    rmSync(join(scratch, "layout/blobs/sha256", good.layers[1]!.digest.slice(7)));
    expect(await failure(pullInto({ repo, source }))).toMatch(/layer 2 .*ENOENT/);
    expect(await failure(pullInto({ repo, source: `oci:${scratch}` }))).toContain(
      "is no image layout",
    );
    writeFileSync(join(scratch, "layout/index.json"), '{"schemaVersion":2,"manifests":[{}]}');
    expect(await failure(pullInto({ repo, source }))).toMatch(
      /index\.json: manifests\[0\]\.digest/,
    );
  });

  test("a name that cannot be one, before anything is fetched", async () => {
    expect(await failure(pullInto({ repo, source: serve(good, "t"), name: "@x" }))).toContain("@x");
    expect(server.requests.length).toBe(1); // the registry was asked whether it is one
  });
});

describe("again", () => {
  const both = image([
    { tar: base, compression: "gzip" },
    { tar: top, compression: "zstd" },
  ]);

  test("pulling twice fetches one manifest and writes nothing", async () => {
    const repo = repositoryPath();
    const source = serve(both, "t");
    const first = await pullInto({ repo, source });
    const before = state(repo);
    server.requests.length = 0;
    const second = await pullInto({ repo, source });
    expect(server.requests.map(({ path }) => path)).toEqual(["/v2/", "/v2/some/image/manifests/t"]);
    expect(state(repo)).toEqual(before);
    expect(second).toMatchObject({
      image: first.image,
      manifestVerity: first.manifestVerity,
      layers: [{ present: true }, { present: true }],
      stats: { objectsStored: 0, objectsExisting: 0 },
    });
  });

  test("documents that another tool converted, and stored under the digests of these: they are replaced, the images stay", async () => {
    const repo = repositoryPath();
    const one = image([{ tar: base, compression: "gzip" }]);
    const source = layout([{ image: one }]);
    const first = await pullInto({ repo, source, name: "x" });
    const convert = ({ bytes }: { bytes: Uint8Array }) => Buffer.from(`${bytes} `);
    const read = () => {
      using repository = openRepository(repo);
      return openImage(repository, "x").images;
    };
    const images = read();
    {
      using repository = openRepository(repo);
      const { digest } = one.config;
      const layers = openImage(repository, "x").layers.map((at) => [at.digest, at.stream] as const);
      const stream = writeConfigStream(repository, digest, convert(one.config), layers, images);
      const config = { digest, stream };
      const manifest = convert(one.manifest);
      writeManifestStream(repository, one.manifest.digest, manifest, config, layers);
      expect(checkImages(repository).findings).toMatchObject([
        { kind: "manifest-digest-mismatch" },
      ]);
    }
    expect(read).toThrow();
    expect(await pullInto({ repo, source, name: "x" })).toEqual({
      ...first,
      layers: first.layers.map((at) => ({ ...at, present: true, fetched: 0 })),
      stats: expect.anything(),
    });
    expect(read()).toEqual(images);
    using repository = openRepository(repo);
    expect(checkImages(repository).findings).toEqual([]);
  });

  test("layers that another image has brought are not fetched", async () => {
    const repo = repositoryPath();
    await pullInto({ repo, source: serve(image([{ tar: base, compression: "zstd" }]), "one") });
    server.requests.length = 0;
    const { layers, stats } = await pullInto({ repo, source: serve(both, "two") });
    expect(layers.map(({ present }) => present)).toEqual([true, false]);
    expect(stats).toMatchObject({ objectsStored: 1, bytesStored: 200_000, objectsExisting: 0 });
    expect(server.requests.filter(({ path }) => path.includes(both.layers[0]!.digest))).toEqual([]);
  });

  test("an image with the same layer twice", async () => {
    const twice = image([
      { tar: base, compression: "gzip" },
      { tar: base, compression: "gzip" },
    ]);
    const repo = repositoryPath();
    await pullInto({ repo, source: serve(twice, "t") });
    const fetched = server.requests.filter(({ path }) => path.includes(twice.layers[0]!.digest));
    expect(fetched.length).toBe(1);
    await pullInto({ repo, source: serve(twice, "t") });
  });

  test("two at once, of images that share a layer", async () => {
    const repo = repositoryPath();
    const other = image([{ tar: base, compression: "gzip" }]);
    const results = await Promise.all([
      pullInto({ repo, source: serve(both, "a") }),
      pullInto({ repo, source: serve(both, "a"), name: "again" }),
      pullInto({ repo, source: serve(other, "b") }),
    ]);
    expect(results[0]!.image).toBe(results[1]!.image);
    expect(results[2]!.image).not.toBe(results[0]!.image);
    const before = state(repo);
    for (const tag of ["a", "b"])
      await pullInto({ repo, source: `docker://${server.host}/some/image:${tag}` });
    expect(state(repo)).toEqual(before);
  });

  test("after one that broke off, the layers that were done stay done", async () => {
    const repo = repositoryPath();
    const source = serve(both, "t");
    const missing = both.layers[1]!;
    server.blobs.delete(missing.digest);
    expect(await failure(pullInto({ repo, source }))).toContain("HTTP status 404");
    server.blobs.set(missing.digest, missing.bytes);
    server.requests.length = 0;
    const { layers } = await pullInto({ repo, source });
    expect(layers.at(-1)?.present).toBe(false);
    expect(readdirSync(join(repo, "objects")).filter((name) => name.startsWith("."))).toEqual([]);
  });

  test("a registry that fails now and then is no hindrance", async () => {
    const source = serve(both, "t");
    let count = 0;
    server.intercept = (request, response) => {
      if (count++ % 2 === 1) return false;
      if (request.url?.includes("blobs") && count % 4 === 1) response.destroy();
      else response.writeHead(503).end();
      return true;
    };
    await pullInto({ repo: repositoryPath(), source });
  });

  test("a name moves to the image that was pulled last", async () => {
    const repo = repositoryPath();
    const other = image([{ tar: base, compression: "gzip" }]);
    await pullInto({ repo, source: serve(both, "a"), name: "n" });
    await pullInto({ repo, source: serve(other, "b"), name: "n" });
    using repository = openRepository(repo);
    expect(repository.readRef("streams", "oci/n")).toBe(`oci-manifest-${other.manifest.digest}`);
  });
});

test("layers come out of the repository byte for byte", async () => {
  const repo = repositoryPath();
  // what tar itself writes: long names, hard links, sparse records, padding to a record of 10 KiB
  const tree = join(scratch, "tree");
  execFileSync("sh", [
    "-c",
    `mkdir -p "$0"/usr/${"d".repeat(90)}/${"e".repeat(90)} && cd "$0" && dd if=/dev/urandom of=usr/random bs=3001 count=30 2>/dev/null &&
     ln usr/random usr/other && ln -s ${"t".repeat(200)} usr/link && echo small > usr/${"d".repeat(90)}/file && : > usr/empty`,
    tree,
  ]);
  for (const format of ["gnu", "posix"]) {
    const archive = execFileSync("tar", ["-C", tree, `--format=${format}`, "-cf", "-", "usr"]);
    const source = serve(image([{ tar: archive, compression: "gzip" }]), format);
    const { layers } = await pullInto({ repo, source });
    expect(layers.length).toBe(1);
    using repository = openRepository(repo);
    const [diffId] = image([{ tar: archive, compression: "none" }]).diffIds;
    const pieces: Uint8Array[] = [];
    for (const chunk of repository.readStream(`oci-layer-${diffId}`).chunks())
      pieces.push(chunk.type === "inline" ? chunk.data : repository.readObject(chunk.digest));
    expect(Buffer.compare(Buffer.concat(pieces), archive)).toBe(0);
  }
});

test("the config and the manifest are kept as they were received", async () => {
  const repo = repositoryPath();
  const spaced = image([{ tar: base, compression: "gzip" }]);
  const bytes = Buffer.from(
    `${JSON.stringify(JSON.parse(spaced.manifest.bytes.toString()), null, 3)}\n \n`,
  );
  const manifest = blob(spaced.manifest.mediaType, bytes);
  const { manifestDigest } = await pullInto({ repo, source: serve({ ...spaced, manifest }, "t") });
  expect(manifestDigest).toBe(manifest.digest);
  using repository = openRepository(repo);
  const [object] = repository.readStream(`oci-manifest-${manifestDigest}`).objectRefs;
  expect(Buffer.from(repository.readObject(object!)).equals(bytes)).toBe(true);
  expect(readFileSync(join(repo, "meta.json"), "utf8")).toContain("fsverity-sha256-12");
});
