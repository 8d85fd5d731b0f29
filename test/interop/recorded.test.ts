/** The digests of our images, and what our streams say, are those that were recorded from cfsctl. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { toHex } from "../../src/formats/digest.ts";
import { completeRewrites, imageDigest, uniteConfigs } from "../../userspace/oci/commit.ts";
import { listTags, openImage } from "../../userspace/oci/image.ts";
import { openLayout } from "../../userspace/oci/layout.ts";
import { pull } from "../../userspace/oci/pull.ts";
import { removeImage } from "../../userspace/oci/remove.ts";
import { collectGarbage } from "../../userspace/repository/gc.ts";
import { initRepository } from "../../userspace/repository/init.ts";
import { openRepository, type Repository } from "../../userspace/repository/repository.ts";
import { writeLayout } from "../oci/fixtures/images.ts";
import { PLATFORM, requireIntact } from "../oci/fixtures/pulling.ts";
import { temporaryDirectory } from "../repository/fixture.ts";
import { ARTIFACT, IMAGES, SIBLINGS } from "./images.ts";
import { digestTable, HASHES, REPOSITORY, recorded, streamTable } from "./recorded.ts";
import { objectsOf } from "./repositories.ts";

describe.each(HASHES)("%s", (hash) => {
  let scratch: string;
  let repository: Repository;
  beforeAll(() => {
    scratch = mkdtempSync(join(tmpdir(), "interop-"));
    initRepository(join(scratch, "repo"), { hash, format: 1, insecure: true });
    repository = openRepository(join(scratch, "repo"));
  });
  afterAll(() => {
    repository.close();
    rmSync(scratch, { recursive: true });
  });

  test.each(Object.keys(IMAGES))("%s", async (name) => {
    const directory = join(scratch, name);
    writeLayout(directory, [{ image: IMAGES[name]!.image }]);
    const source = { transport: "oci", source: `oci:${directory}`, directory, tag: undefined };
    const transport = await openLayout({ ...source, transport: "oci" });
    await pull(repository, transport, { name, platform: PLATFORM, bootable: false });
    const image = openImage(repository, name);

    const streams = streamTable(name, hash, (diffId) =>
      repository.readObject(repository.streamObject(`oci-layer-${diffId}`)!),
    );
    expect(streams).toEqual(recorded("streams", name, hash));
    const digests = digestTable(name, hash, ({ format, ...options }) =>
      toHex(imageDigest(repository, image, format, options)),
    );
    expect(digests).toEqual(recorded("digests", name, hash));
  });
});

test("a repository that cfsctl wrote is sound, says what went in, and is left sound", async () => {
  using directory = temporaryDirectory();
  const path = join(directory.path, "repo");
  mkdirSync(path);
  execFileSync("tar", ["-xf", REPOSITORY, "-C", path]);
  requireIntact(path);

  using repository = openRepository(path);
  const tags = listTags(repository);
  const [, newest] = SIBLINGS;
  expect(tags).toEqual([
    { tag: "artifact", manifestDigest: ARTIFACT.manifest.digest },
    { tag: "merged", manifestDigest: newest!.manifest.digest },
  ]);
  const merged = openImage(repository, "merged");
  expect(Buffer.from(merged.manifest!.bytes)).toEqual(newest!.manifest.bytes);
  const expected = recorded("digests", "merged layers", "sha256").map((line) => line.split("\t"));
  const digest = (kind: string) =>
    expected.find(([, , format, what]) => format === "V1" && what === kind)!.at(-1);
  expect([...merged.images].map(([name, value]) => [name, toHex(value)])).toEqual([
    ["composefs.image.boot.v1", digest("boot")],
    ["composefs.image.v1", digest("-")],
  ]);

  const streams = () => repository.listStreams().filter((name) => !name.includes("manifest"));
  const before = [streams(), repository.listImages()];
  const collect = () =>
    collectGarbage(repository, {
      prepare: () => {
        completeRewrites(repository);
        uniteConfigs(repository);
      },
    });
  collect();
  requireIntact(path);
  expect([streams(), repository.listImages()]).toEqual(before);
  for (const { tag } of tags) removeImage(repository, tag);
  collect();
  expect([repository.listStreams(), repository.listImages()]).toEqual([[], []]);
  expect(objectsOf(path)).toEqual([]);
});
