/** Artifacts: kept as they are, known as referrers of their subjects, removed with them. */
import { mkdtempSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { CONTENT_TYPES } from "../../src/formats/splitstream.ts";
import { streamContent } from "../../userspace/oci/content.ts";
import { checkImages } from "../../userspace/oci/fsck.ts";
import { openImage } from "../../userspace/oci/image.ts";
import { openLayout } from "../../userspace/oci/layout.ts";
import { listImages } from "../../userspace/oci/list.ts";
import { type PullResult, pull } from "../../userspace/oci/pull.ts";
import { describeReferrers, listReferrers, listSubjects } from "../../userspace/oci/referrers.ts";
import { removeImage } from "../../userspace/oci/remove.ts";
import { checkRepository } from "../../userspace/repository/fsck.ts";
import { collectGarbage } from "../../userspace/repository/gc.ts";
import { initRepository } from "../../userspace/repository/init.ts";
import { openRepository, type Repository } from "../../userspace/repository/repository.ts";
import { blob, descriptor, type Image, image, json, tar, writeLayout } from "./fixtures/images.ts";

const PLATFORM = { os: "linux", architecture: "amd64" };
const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const SIGNATURE = "application/vnd.example.signature";

const unexpected = (error: unknown) => expect.fail(String(error));

let scratch: string;
let repository: Repository;
beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), "referrers-"));
  const path = join(scratch, "repo");
  initRepository(path, { hash: "sha256", format: 1, insecure: true });
  repository = openRepository(path);
});
afterEach(() => {
  repository.close();
  rmSync(scratch, { recursive: true });
});

const container = image([
  { tar: tar([{ path: "usr/" }, { path: "usr/a", data: "a".repeat(1000) }]), compression: "gzip" },
]);

interface ArtifactOptions {
  readonly subject?: Image;
  readonly config?: string;
  readonly layerType?: string;
}

function artifact(
  contents: string[],
  { subject, config = "{}", layerType = SIGNATURE }: ArtifactOptions = {},
): Image {
  const layers = contents.map((content) => blob(layerType, Buffer.from(content)));
  const empty = blob("application/vnd.oci.empty.v1+json", Buffer.from(config));
  const manifest = json(MANIFEST, {
    schemaVersion: 2,
    mediaType: MANIFEST,
    artifactType: SIGNATURE,
    config: descriptor(empty),
    layers: layers.map(descriptor),
    ...(subject === undefined ? {} : { subject: descriptor(subject.manifest) }),
    annotations: { signed: "yes" },
  });
  return { manifest, config: empty, layers, diffIds: [] };
}

async function pullImage(name: string, source: Image, bootable = false): Promise<PullResult> {
  const directory = join(scratch, name);
  writeLayout(directory, [{ image: source }]);
  const reference = { transport: "oci", source: directory, directory, tag: undefined } as const;
  const transport = await openLayout(reference);
  return pull(repository, transport, { name, platform: PLATFORM, bootable });
}

function layerBytes(name: string): Buffer[] {
  return openImage(repository, name).layers.map(({ stream }) => {
    const chunks = [...repository.readStreamObject(stream, CONTENT_TYPES["oci-blob"]).chunks()];
    expect(chunks.map(({ type }) => type)).toEqual(["external"]);
    const chunk = chunks[0]!;
    if (chunk.type !== "external") throw new Error("inline");
    return Buffer.from(repository.readObject(chunk.digest));
  });
}

describe("an artifact", () => {
  test("is stored as it is and listed as what it is", async () => {
    const result = await pullImage("sig", artifact(["one", "two".repeat(100), "one"]));
    expect(result).toMatchObject({ image: undefined, bootImage: undefined });
    expect(layerBytes("sig").map(String)).toEqual(["one", "two".repeat(100), "one"]);
    expect(listImages(repository, unexpected)).toMatchObject([
      { name: "sig", isContainer: false, architecture: "", os: "", layerCount: 3 },
    ]);
    expect(repository.listImages()).toEqual([]);
  });

  test("whose layer has a tar's media type is kept as it is, too", async () => {
    const layerType = "application/vnd.oci.image.layer.v1.tar+gzip";
    await pullImage("file", artifact(["this is no tar"], { layerType }));
    expect(layerBytes("file").map(String)).toEqual(["this is no tar"]);
  });

  test("shares its config with others, and each keeps its own layers", async () => {
    const texts = ["x".repeat(200), "y".repeat(200), "z".repeat(200)] as const;
    await pullImage("x", artifact([texts[0]]));
    await pullImage("y", artifact([texts[1], texts[2]]));
    await pullImage("x", artifact([texts[0]])); // again: nothing changes
    expect(checkImages(repository).findings).toEqual([]);
    expect(layerBytes("x").map(String)).toEqual([texts[0]]);
    expect(layerBytes("y").map(String)).toEqual([texts[1], texts[2]]);
    removeImage(repository, "x");
    collectGarbage(repository);
    expect(layerBytes("y").map(String)).toEqual([texts[1], texts[2]]);
    expect(openImage(repository, "y").config.bytes).toEqual(new Uint8Array(Buffer.from("{}")));
    const left = repository.listStreams().filter((name) => name.startsWith("oci-layer-"));
    expect(left.length).toBe(2);
  });

  test("of which nothing can boot is refused before it is fetched", async () => {
    await expect(pullImage("sig", artifact(["one"]), true)).rejects.toThrow(
      "an artifact, whose config is application/vnd.oci.empty.v1+json; only a container image can be bootable",
    );
    expect(repository.listStreams()).toEqual([]);
  });
});

describe("an artifact's blob that is also a container image's layer", () => {
  const archive = tar([
    { path: "usr/" },
    { path: "usr/a", data: "a".repeat(1000) },
    { path: "usr/small", data: "small" },
    { path: "boot/" },
    { path: "sysroot/" },
  ]);
  const of = image([{ tar: archive, compression: "gzip" }]);
  const TAR = "application/vnd.oci.image.layer.v1.tar";
  const blobOf = artifact([archive.toString("latin1")], { layerType: TAR });

  test.each(["artifact", "image"])("can be read as both; first comes the %s", async (first) => {
    expect(blobOf.layers[0]!.digest).toBe(of.diffIds[0]);
    const alone = await pullImage("alone", of, true);
    removeImage(repository, "alone");
    collectGarbage(repository);
    expect(repository.listStreams()).toEqual([]);

    const pulls = [() => pullImage("artifact", blobOf), () => pullImage("image", of, true)];
    if (first === "image") pulls.reverse();
    for (const pull of pulls) await pull();
    await pullImage("again", of, true);
    const check = () => {
      expect(checkImages(repository).findings).toEqual([]);
      expect(checkRepository(repository).findings).toEqual([]);
    };
    check();
    const again = await pullImage("image", of, true);
    expect([again.image, again.bootImage]).toEqual([alone.image, alone.bootImage]);
    expect(again.layers).toMatchObject([{ present: true }]);
    const [blobLayer] = openImage(repository, "artifact").layers;
    const bytes = streamContent(repository, repository.readStreamObject(blobLayer!.stream));
    expect(Buffer.concat([...bytes]).equals(archive)).toBe(true);

    // Each goes without the other.
    collectGarbage(repository);
    check();
    removeImage(repository, "artifact");
    collectGarbage(repository);
    check();
    expect((await pullImage("image", of, true)).layers).toMatchObject([{ present: true }]);
    await pullImage("artifact", blobOf);
    for (const name of ["image", "again"]) removeImage(repository, name);
    collectGarbage(repository);
    check();
    const left = openImage(repository, "artifact").layers[0]!;
    const rest = streamContent(repository, repository.readStreamObject(left.stream));
    expect(Buffer.concat([...rest]).equals(archive)).toBe(true);
  });
});

describe("a referrer", () => {
  test("is linked to its subject by the names that the reference implementation gives", async () => {
    await pullImage("image", container);
    const signature = artifact(["sig"], { subject: container });
    await pullImage("sig", signature);
    const { digest } = signature.manifest;
    const link = `streams/refs/oci-referrers/${container.manifest.digest}/${digest}`;
    expect(readlinkSync(join(repository.path, link))).toBe(`../../../oci-manifest-${digest}`);
    expect(listReferrers(repository, container.manifest.digest)).toEqual([digest]);
    expect(listSubjects(repository, digest)).toEqual([container.manifest.digest]);
    expect(describeReferrers(repository, container.manifest.digest, unexpected)).toEqual([
      {
        mediaType: MANIFEST,
        digest,
        size: signature.manifest.size,
        artifactType: SIGNATURE,
        annotations: { signed: "yes" },
      },
    ]);
    const image = listImages(repository, unexpected).find(({ name }) => name === "image");
    expect(image?.referrerCount).toBe(1);
  });

  test("may come before its subject, and a link that says otherwise than it leads is passed over", async () => {
    const signature = artifact(["sig"], { subject: container });
    await pullImage("sig", signature);
    const subject = container.manifest.digest;
    repository.setRef(
      "streams",
      `oci-referrers/${subject}/sha256:${"0".repeat(64)}`,
      `oci-manifest-${signature.manifest.digest}`,
    );
    expect(listReferrers(repository, subject)).toEqual([signature.manifest.digest]);
  });

  test("that is damaged is told about, and the others are listed", async () => {
    const [first, second] = [
      artifact(["1"], { subject: container }),
      artifact(["2"], { subject: container }),
    ];
    await pullImage("first", first);
    await pullImage("second", second);
    repository.removeStream(`oci-manifest-${first.manifest.digest}`);
    const errors: unknown[] = [];
    const found = describeReferrers(repository, container.manifest.digest, (e) => errors.push(e));
    expect(found.map(({ digest }) => digest)).toEqual([second.manifest.digest]);
    expect(String(errors[0])).toContain(`referrer ${first.manifest.digest}`);
  });
});

describe("removing", () => {
  const streams = () => repository.listStreams().map((name) => name.replace(/-sha256:.*/, ""));

  test("the last tag of an image makes it unknown, and a collection removes all of it", async () => {
    await pullImage("one", container);
    await pullImage("two", container);
    const { digest } = container.manifest;
    expect(removeImage(repository, "one")).toEqual({
      manifestDigest: digest,
      tags: ["one"],
      keptBy: ["two"],
      referrers: [],
    });
    expect(openImage(repository, `@${digest}`).layers.length).toBe(1);
    expect(removeImage(repository, "two")).toMatchObject({ tags: ["two"], keptBy: [] });
    expect(() => openImage(repository, `@${digest}`)).toThrow();
    expect(streams()).toEqual(["oci-config", "oci-layer"]);
    collectGarbage(repository);
    expect([...streams(), ...repository.listImages()]).toEqual([]);
  });

  test("by digest takes all tags, but neither a deployment's nor what others refer to it with", async () => {
    await pullImage("one", container);
    const { digest } = container.manifest;
    const entry = `oci-manifest-${digest}`;
    await pullImage("two", container);
    repository.setRef("streams", `oci/localhost%2Fbootc-${digest}`, entry);
    repository.setRef("streams", "others/ref", entry);
    expect(removeImage(repository, `@${digest}`)).toEqual({
      manifestDigest: digest,
      tags: ["one", "two"],
      keptBy: [`localhost/bootc-${digest}`, "streams/refs/others/ref"],
      referrers: [],
    });
    expect(() => removeImage(repository, `localhost/bootc-${digest}`)).toThrow(
      expect.objectContaining({
        cause: expect.objectContaining({ hint: expect.stringContaining("image untag") }),
      }),
    );
    expect(openImage(repository, `localhost/bootc-${digest}`).layers.length).toBe(1);
  });

  test("an image lets its referrers go; a signature stays with its image", async () => {
    await pullImage("image", container);
    const signature = artifact(["sig".repeat(100)], { subject: container });
    await pullImage("sig", signature);
    const subject = container.manifest.digest;
    expect(removeImage(repository, "sig")).toMatchObject({
      tags: ["sig"],
      keptBy: [`referrer of ${subject}`],
    });
    collectGarbage(repository);
    expect(listReferrers(repository, subject)).toEqual([signature.manifest.digest]);
    expect(removeImage(repository, "image")).toMatchObject({
      keptBy: [],
      referrers: [signature.manifest.digest],
    });
    collectGarbage(repository);
    expect(repository.listStreams()).toEqual([]);
  });

  test("a signature by its digest, and one whose image was never there", async () => {
    await pullImage("image", container);
    const signature = artifact(["sig"], { subject: container });
    await pullImage("sig", signature);
    expect(removeImage(repository, `@${signature.manifest.digest}`)).toMatchObject({ keptBy: [] });
    expect(listReferrers(repository, container.manifest.digest)).toEqual([]);
    const other = image([{ tar: tar([{ path: "usr/" }]), compression: "none" }]);
    await pullImage("orphan", artifact(["orphan"], { subject: other }));
    expect(removeImage(repository, "orphan")).toMatchObject({ tags: ["orphan"], keptBy: [] });
    collectGarbage(repository);
    expect(streams()).toEqual(["oci-config", "oci-layer", "oci-manifest"]);
  });

  test("what is not there, what is no manifest, and a tag whose image is lost", async () => {
    await pullImage("image", container);
    expect(() => removeImage(repository, "none")).toThrow("remove none");
    const cause = (message: string) =>
      expect.objectContaining({ cause: expect.objectContaining({ message }) });
    expect(() => removeImage(repository, `@sha256:${"0".repeat(64)}`)).toThrow(
      cause("there is no such image"),
    );
    expect(() => removeImage(repository, `@${container.config.digest}`)).toThrow(
      cause("this is the digest of a config, expected that of a manifest"),
    );
    expect(() => removeImage(repository, "@x")).toThrow(
      cause("expected @sha256: and 64 lower-case hex digits"),
    );
    repository.removeStream(`oci-manifest-${container.manifest.digest}`);
    expect(removeImage(repository, "image")).toMatchObject({ tags: ["image"], keptBy: [] });
  });
});
