/** Images out of a repository: into layouts and registries, and from there back into another repository. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import zlib from "node:zlib";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { toHex } from "../../src/formats/digest.ts";
import { describeError } from "../../userspace/cli/errors.ts";
import { imageDigest } from "../../userspace/oci/commit.ts";
import { type CopyResult, copyImage } from "../../userspace/oci/copy.ts";
import { openImageWithManifest } from "../../userspace/oci/inspect.ts";
import { openSource } from "../../userspace/oci/open.ts";
import {
  type DestinationOptions,
  openDestination,
  requireWritableReference,
} from "../../userspace/oci/open-destination.ts";
import { pull } from "../../userspace/oci/pull.ts";
import { parseReference } from "../../userspace/oci/reference.ts";
import { initRepository } from "../../userspace/repository/init.ts";
import { openRepository, type Repository } from "../../userspace/repository/repository.ts";
import { blob, descriptor, type Image, image, json, tar, writeLayout } from "./fixtures/images.ts";
import { acceptPushes } from "./fixtures/push-server.ts";
import { digestOf, RegistryServer } from "./fixtures/registry-server.ts";

const PLATFORM = { os: "linux", architecture: "amd64" };
const MANIFEST = "application/vnd.oci.image.manifest.v1+json";

/** Bytes that do not compress. */
function noise(size: number, seed: number): Buffer {
  let state = seed;
  return Buffer.from(
    Uint8Array.from({ length: size }, () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state >>> 24;
    }),
  );
}

const base = tar([
  { path: "usr/" },
  { path: "usr/large", data: noise(600_000, 1) },
  { path: "usr/small", data: "small" },
]);
const top = tar([{ path: "usr/" }, { path: "usr/other", data: "x".repeat(9000) }]);
/** As another program compresses it. */
const foreignGzip = (bytes: Buffer) => zlib.gzipSync(bytes, { level: 1 });

let scratch: string;
let registry: RegistryServer;
let repository: Repository;
let repositories: Repository[] = [];
beforeEach(async () => {
  scratch = mkdtempSync(join(tmpdir(), "copy-"));
  registry = await RegistryServer.start();
  repository = newRepository("repo");
});
afterEach(async () => {
  for (const one of repositories) one.close();
  repositories = [];
  await registry.close();
  rmSync(scratch, { recursive: true });
});

function newRepository(name: string): Repository {
  const path = join(scratch, name);
  initRepository(path, { hash: "sha256", format: 1, insecure: true });
  const opened = openRepository(path);
  repositories.push(opened);
  return opened;
}

/** No configuration but this test's. */
const places = () => ({
  env: { HOME: scratch, TMPDIR: scratch },
  uid: 0,
  system: [join(scratch, "etc")],
});

async function pullFrom(source: string, name: string, into = repository): Promise<string> {
  const options = { platform: PLATFORM, places: places(), retryDelay: 1 };
  const transport = await openSource(parseReference(source), options);
  try {
    const result = await pull(into, transport, { name, platform: PLATFORM, bootable: false });
    return result.manifestDigest;
  } finally {
    await transport.close();
  }
}

async function store(stored: Image, name = "image"): Promise<void> {
  const directory = join(scratch, `source-${name}`);
  writeLayout(directory, [{ image: stored }]);
  await pullFrom(`oci:${directory}`, name);
}

async function copyTo(
  target: string,
  name = "image",
  options: DestinationOptions = {},
): Promise<CopyResult> {
  const { linux } = repository.files.platform;
  const reference = requireWritableReference(parseReference(target));
  const destination = await openDestination(linux, reference, {
    places: places(),
    retryDelay: 1,
    ...options,
  });
  try {
    return await copyImage(repository, openImageWithManifest(repository, name), destination);
  } finally {
    await destination.close();
  }
}

async function failure(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    return describeError(error).message;
  }
  throw new Error("did not fail");
}

const layoutPath = () => join(scratch, "layout");
const index = () => JSON.parse(readFileSync(join(layoutPath(), "index.json"), "utf8"));
const blobOf = (digest: string) =>
  readFileSync(join(layoutPath(), "blobs/sha256", digest.slice("sha256:".length)));

/** Digest of the filesystem of an image in a repository. */
function filesystem(of: Repository, name: string): string {
  return toHex(imageDigest(of, openImageWithManifest(of, name), 1));
}

function mixed(options: { kind?: "oci" | "docker" } = {}): Image {
  const made = image(
    [
      { tar: base, compression: "none" },
      { tar: top, compression: "gzip" },
    ],
    options,
  );
  const layer = blob(made.layers[1]!.mediaType, foreignGzip(top));
  const layers = [made.layers[0]!, layer];
  const document = JSON.parse(made.manifest.bytes.toString());
  document.layers = layers.map(descriptor);
  document.layers[1].annotations = {
    "containerd.io/snapshot/stargz/toc.digest": "x",
    title: "top",
  };
  return { ...made, layers, manifest: json(made.manifest.mediaType, document) };
}

describe("to a layout", () => {
  test("an image that was not compressed is written byte for byte", async () => {
    const plain = image([
      { tar: base, compression: "none" },
      { tar: top, compression: "none" },
      { tar: base, compression: "none" },
    ]);
    await store(plain);
    const result = await copyTo(`oci:${layoutPath()}:v1`);
    expect(result).toEqual({
      manifestDigest: plain.manifest.digest,
      configDigest: plain.config.digest,
      layers: plain.layers.map(({ digest, size }) => ({
        source: digest,
        digest,
        size,
        present: false,
      })),
    });
    for (const { digest, bytes } of [plain.manifest, plain.config, ...plain.layers]) {
      expect(blobOf(digest).equals(bytes)).toBe(true);
    }
    expect(index()).toEqual({
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.index.v1+json",
      manifests: [
        {
          ...descriptor(plain.manifest),
          annotations: { "org.opencontainers.image.ref.name": "v1" },
        },
      ],
    });
    expect(readdirSync(layoutPath()).sort()).toEqual(["blobs", "index.json", "oci-layout"]);
    expect(readdirSync(join(layoutPath(), "blobs/sha256")).length).toBe(4);
  });

  test.each(["oci", "docker"] as const)(
    "%s layers are compressed anew where the blob is lost, and the tree is the same",
    async (kind) => {
      const source = mixed({ kind });
      await store(source);
      const result = await copyTo(`oci:${layoutPath()}`);
      expect(result.manifestDigest).not.toBe(source.manifest.digest);
      const written = JSON.parse(blobOf(result.manifestDigest).toString());
      const fresh = result.layers[1]!;
      expect(zlib.gunzipSync(blobOf(fresh.digest)).equals(top)).toBe(true);
      expect(blobOf(fresh.digest).length).toBe(fresh.size);
      expect(written).toEqual({
        ...JSON.parse(source.manifest.bytes.toString()),
        layers: [
          descriptor(source.layers[0]!),
          {
            mediaType: source.layers[1]!.mediaType,
            digest: fresh.digest,
            size: fresh.size,
            annotations: { title: "top" },
          },
        ],
      });
      expect(blobOf(source.config.digest).equals(source.config.bytes)).toBe(true);
      expect(index().manifests[0].mediaType).toBe(source.manifest.mediaType);

      const other = newRepository("other");
      expect(await pullFrom(`oci:${layoutPath()}`, "back", other)).toBe(result.manifestDigest);
      expect(filesystem(other, "back")).toBe(filesystem(repository, "image"));
    },
  );

  test("zstd stays zstd", async () => {
    const made = image([{ tar: base, compression: "zstd" }]);
    const chunked = Buffer.concat([made.layers[0]!.bytes, zlib.zstdCompressSync(Buffer.alloc(0))]);
    const layer = blob(made.layers[0]!.mediaType, chunked);
    const document = { ...JSON.parse(made.manifest.bytes.toString()), layers: [descriptor(layer)] };
    await store({ ...made, layers: [layer], manifest: json(MANIFEST, document) });
    const { layers } = await copyTo(`oci:${layoutPath()}`);
    expect(layers[0]!.digest).not.toBe(layer.digest);
    expect(zlib.zstdDecompressSync(blobOf(layers[0]!.digest)).equals(base)).toBe(true);
  });

  test("what the layout has is taken as it is: back to where it came from, it is the same image", async () => {
    const source = mixed();
    await store(source);
    const result = await copyTo(`oci:${join(scratch, "source-image")}:again`);
    expect(result.manifestDigest).toBe(source.manifest.digest);
    expect(result.layers.map(({ present }) => present)).toEqual([true, true]);
  });

  test("a copy of a copy is the same image", async () => {
    await store(mixed());
    const first = await copyTo(`oci:${layoutPath()}:a`);
    await pullFrom(`oci:${layoutPath()}:a`, "second");
    rmSync(layoutPath(), { recursive: true });
    const second = await copyTo(`oci:${layoutPath()}:a`, "second");
    expect(second.manifestDigest).toBe(first.manifestDigest);
  });

  test("an artifact, and what it refers to", async () => {
    const signature = artifact(["signature", "x".repeat(100)]);
    await store(signature, "sig");
    await copyTo(`oci:${layoutPath()}:sig`, "sig");
    expect(blobOf(signature.manifest.digest).equals(signature.manifest.bytes)).toBe(true);
    for (const layer of signature.layers)
      expect(blobOf(layer.digest).equals(layer.bytes)).toBe(true);
    expect(index().manifests).toEqual([
      {
        ...descriptor(signature.manifest),
        artifactType: "application/vnd.example.signature",
        annotations: { "org.opencontainers.image.ref.name": "sig" },
      },
    ]);
  });

  test("other images stay, a tag moves, and the same image is listed once", async () => {
    const other = image([{ tar: top, compression: "none" }]);
    writeLayout(layoutPath(), [
      { image: other, tag: "old" },
      { image: other, tag: "keep" },
    ]);
    const before = index();
    before.annotations = { unknown: "stays" };
    before.manifests[1].platform = { os: "linux", architecture: "amd64", "os.version": "1" };
    writeFileSync(join(layoutPath(), "index.json"), JSON.stringify(before));
    const plain = image([{ tar: base, compression: "none" }]);
    await store(plain);
    await copyTo(`oci:${layoutPath()}:old`);
    await copyTo(`oci:${layoutPath()}`); // has a name there already
    const after = index();
    expect(after.annotations).toEqual({ unknown: "stays" });
    expect(after.manifests).toEqual([
      before.manifests[1],
      {
        ...descriptor(plain.manifest),
        annotations: { "org.opencontainers.image.ref.name": "old" },
      },
    ]);
    await Promise.all(["a", "b", "c"].map((tag) => copyTo(`oci:${layoutPath()}:${tag}`)));
    expect(index().manifests.length).toBe(5);
  });

  test("a directory with something else in it is left alone", async () => {
    await store(mixed());
    mkdirSync(layoutPath());
    writeFileSync(join(layoutPath(), "letter"), "dear");
    expect(await failure(copyTo(`oci:${layoutPath()}`))).toContain(
      "is no image layout, and it is not empty",
    );
    expect(readdirSync(layoutPath())).toEqual(["letter"]);
    writeFileSync(join(layoutPath(), "oci-layout"), '{"imageLayoutVersion":"2.0.0"}');
    expect(await failure(copyTo(`oci:${layoutPath()}`))).toContain(
      "imageLayoutVersion: expected 1.0.0",
    );
    writeFileSync(join(layoutPath(), "oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
    writeFileSync(join(layoutPath(), "index.json"), "[]");
    expect(await failure(copyTo(`oci:${layoutPath()}`))).toContain(
      "index.json: expected an object",
    );
    expect(readFileSync(join(layoutPath(), "index.json"), "utf8")).toBe("[]");
  });

  test.each(["none", "gzip"] as const)(
    "a damaged layer (%s) is not passed on",
    async (compression) => {
      const made = image([{ tar: base, compression }]);
      await store(made);
      rmSync(join(scratch, "source-image"), { recursive: true });
      const objects = join(repository.path, "objects");
      const large = readdirSync(objects, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name))
        .find((path) => statSync(path).size === 600_000)!;
      const bytes = readFileSync(large);
      bytes[300_000]! ^= 1;
      writeFileSync(large, bytes);
      expect(await failure(copyTo(`oci:${layoutPath()}`))).toMatch(
        /^layer 1 \(sha256:[0-9a-f]{64}\): has the digest sha256:[0-9a-f]{64}; expected sha256:/,
      );
      expect(readdirSync(layoutPath()).sort()).toEqual(["blobs", "oci-layout"]);
      expect(readdirSync(join(layoutPath(), "blobs/sha256"))).toEqual([]);
    },
  );
});

function artifact(contents: string[], subject?: Image): Image {
  const layers = contents.map((content) => blob("text/plain", Buffer.from(content)));
  const config = blob("application/vnd.oci.empty.v1+json", Buffer.from("{}"));
  const manifest = json(MANIFEST, {
    schemaVersion: 2,
    mediaType: MANIFEST,
    artifactType: "application/vnd.example.signature",
    config: descriptor(config),
    layers: layers.map(descriptor),
    ...(subject === undefined ? {} : { subject: descriptor(subject.manifest) }),
  });
  return { manifest, config, layers, diffIds: [] };
}

describe("to a registry", () => {
  const target = (rest = "dir/image:v1") => `docker://${registry.host}/${rest}`;

  test("with a token, and back", async () => {
    const server = acceptPushes(registry, { login: "me:secret" });
    const source = mixed();
    await store(source);
    expect(await failure(copyTo(target()))).toContain("demands a login");
    const result = await copyTo(target(), "image", { creds: "me:secret" });
    expect(server.scopes).toEqual([["repository:dir/image:pull,push"]]);
    expect(registry.manifests.get("v1")?.mediaType).toBe(MANIFEST);
    expect(digestOf(registry.manifests.get("v1")!.bytes)).toBe(result.manifestDigest);
    expect(zlib.gunzipSync(registry.blobs.get(result.layers[1]!.digest)!).equals(top)).toBe(true);
    expect(server.uploads.size).toBe(0);

    registry.intercept = () => false;
    const other = newRepository("other");
    await pullFrom(target(), "back", other);
    expect(filesystem(other, "back")).toBe(filesystem(repository, "image"));
  });

  test("nothing is sent that is there", async () => {
    const server = acceptPushes(registry);
    const source = mixed();
    await store(source);
    const first = await copyTo(target("dir/image:v1"));
    expect(server.writes.splice(0).filter((one) => one.startsWith("PUT"))).toHaveLength(4);
    const second = await copyTo(target("dir/image:v2"));
    expect(server.writes).toEqual(["PUT /v2/dir/image/manifests/v2"]);
    expect(second.manifestDigest).toBe(first.manifestDigest);

    // with the blob that the manifest names, the manifest stays as it is
    registry.blobs.set(source.layers[1]!.digest, source.layers[1]!.bytes);
    expect((await copyTo(target("dir/image:v3"))).manifestDigest).toBe(source.manifest.digest);
  });

  test("blobs are taken from the repository that the image came from", async () => {
    const source = mixed();
    for (const { digest, bytes } of [source.config, ...source.layers])
      registry.blobs.set(digest, bytes);
    const { mediaType, bytes } = source.manifest;
    registry.manifests.set("v1", { mediaType, bytes });
    await pullFrom(target("from/here:v1"), "image");
    const server = acceptPushes(registry, { login: "me:secret", mountable: ["from/here"] });
    // there, but not in the repository that is written to
    const intercept = registry.intercept;
    registry.intercept = (request, response) => {
      if (request.method !== "HEAD") return intercept(request, response);
      response.writeHead(404);
      response.end();
      return true;
    };
    const result = await copyTo(target("to/there:v1"), "image", {
      creds: "me:secret",
      tags: ["image", target("from/here:v1"), "docker://elsewhere.example/x"],
    });
    expect(server.scopes[0]).toEqual([
      "repository:to/there:pull,push",
      "repository:from/here:pull",
    ]);
    expect(result.manifestDigest).toBe(source.manifest.digest);
    expect(server.writes.filter((one) => one.startsWith("PUT"))).toEqual([
      "PUT /v2/to/there/manifests/v1",
    ]);
  });

  test.each([
    ["is taken up where it broke off", false],
    ["begins again where the registry has forgotten it", true],
  ])("a large upload %s", async (_, forgetful) => {
    const large = tar([{ path: "usr/" }, { path: "usr/large", data: noise(9_000_000, 5) }]);
    await store(image([{ tar: large, compression: "none" }]));
    const server = acceptPushes(registry, { breakAfter: [3_000_000, 1_000_000], forgetful });
    const result = await copyTo(target());
    expect(Buffer.from(registry.blobs.get(result.layers[0]!.digest)!).equals(large)).toBe(true);
    expect(server.writes.filter((one) => one.startsWith("PATCH"))).toHaveLength(3);
    const posts = server.writes.filter((one) => one.startsWith("POST"));
    expect(posts).toHaveLength(forgetful ? 4 : 2); // one of them for the config
  });

  test("a registry that keeps failing is given up, and what it says is told", async () => {
    acceptPushes(registry);
    await store(mixed());
    const accept = registry.intercept;
    let puts = 0;
    registry.intercept = (request, response) => {
      if (request.method !== "PUT") return accept(request, response);
      puts++;
      request.resume();
      response.writeHead(503);
      response.end(JSON.stringify({ errors: [{ code: "TOOBUSY", message: "later" }] }));
      return true;
    };
    expect(await failure(copyTo(target()))).toMatch(
      /^layer \d .*HTTP status 503 \(TOOBUSY: later\)/,
    );
    expect(puts).toBeGreaterThanOrEqual(5);
    registry.intercept = (request, response) => {
      if (request.method !== "POST") return accept(request, response);
      request.resume();
      response.writeHead(403);
      response.end(JSON.stringify({ errors: [{ code: "DENIED", message: "not yours" }] }));
      return true;
    };
    expect(await failure(copyTo(target()))).toContain("HTTP status 403 (DENIED: not yours)");
    expect(registry.manifests.size).toBe(0);
    expect(readdirSync(scratch).filter((name) => name.startsWith(".cfsboot"))).toEqual([]);
  });

  test("by digest only if it is that digest", async () => {
    acceptPushes(registry);
    const plain = image([{ tar: base, compression: "none" }]);
    await store(plain);
    await copyTo(target(`a/b@${plain.manifest.digest}`));
    expect([...registry.manifests.keys()]).toEqual([plain.manifest.digest]);
    const wrong = `sha256:${"0".repeat(64)}`;
    expect(await failure(copyTo(target(`a/b@${wrong}`)))).toBe(
      `the manifest would have the digest ${plain.manifest.digest}, expected ${wrong}`,
    );
  });

  test.each([
    ["that has no API for them", false],
    ["that has one", true],
  ])("a referrer, to a registry %s", async (_, referrersApi) => {
    acceptPushes(registry, { referrersApi });
    const subject = image([{ tar: top, compression: "none" }]);
    const first = artifact(["one"], subject);
    const second = artifact(["two"], subject);
    await store(first, "first");
    await store(second, "second");
    await copyTo(target(`a/b@${first.manifest.digest}`), "first");
    await copyTo(target("a/b:second"), "second");
    await copyTo(target("a/b:again"), "second");
    const tag = registry.manifests.get(subject.manifest.digest.replace(":", "-"));
    if (referrersApi) {
      expect(tag).toBeUndefined();
      return;
    }
    expect(tag?.mediaType).toBe("application/vnd.oci.image.index.v1+json");
    expect(JSON.parse(Buffer.from(tag!.bytes).toString()).manifests).toEqual(
      [first, second].map(({ manifest }) => ({
        ...descriptor(manifest),
        artifactType: "application/vnd.example.signature",
      })),
    );
  });

  test("only what can be written to is a destination", async () => {
    expect(() => requireWritableReference(parseReference("dir:/tmp"))).toThrow(
      "cannot copy to dir",
    );
    expect(existsSync(layoutPath())).toBe(false);
  });
});
