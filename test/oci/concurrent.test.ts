/** Processes that work on one repository at once. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { toHex } from "../../src/formats/digest.ts";
import { parseManifest } from "../../src/formats/oci.ts";
import { commitImages } from "../../userspace/oci/commit.ts";
import { checkImages } from "../../userspace/oci/fsck.ts";
import { openImage, tagImage } from "../../userspace/oci/image.ts";
import { LayerImport } from "../../userspace/oci/layer.ts";
import { writeDocuments } from "../../userspace/oci/pull.ts";
import { configRef, imageRef } from "../../userspace/oci/streams.ts";
import { checkRepository } from "../../userspace/repository/fsck.ts";
import { collectGarbage } from "../../userspace/repository/gc.ts";
import { openRepository, type Repository } from "../../userspace/repository/repository.ts";
import { temporaryDirectory } from "../repository/fixture.ts";
import { VARIANTS } from "./commit-process.ts";
import { type Image, image, tar } from "./fixtures/images.ts";
import { makeRepository } from "./fixtures/pulling.ts";

let scratch: ReturnType<typeof temporaryDirectory>;
let path: string;
beforeEach(() => {
  scratch = temporaryDirectory();
  path = makeRepository(join(scratch.path, "repo"));
});
afterEach(() => scratch[Symbol.dispose]());

/** What a pull stores before there are filesystem images. */
function store(repository: Repository, stored: Image, tag: string): void {
  for (const [i, diffId] of stored.diffIds.entries()) {
    const layer = new LayerImport(repository, diffId);
    layer.write(stored.layers[i]!.bytes);
    layer.finish();
  }
  const { bytes, digest } = stored.manifest;
  const manifest = parseManifest(bytes, tag);
  const config = { bytes: stored.config.bytes, diffIds: stored.diffIds };
  writeDocuments(repository, { digest, bytes, manifest }, config);
  tagImage(repository, digest, tag);
}

/** An image to boot, unlike any with another number. */
const numbered = (number: number) => {
  const files = ["boot/", "boot/kernel", "sysroot/", "usr/"].map((path) => ({ path }));
  const data = `content ${number}`.repeat(20);
  return image([{ tar: tar([...files, { path: "usr/file", data }]), compression: "none" }]);
};

function run(program: string, ...args: string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const file = fileURLToPath(new URL(program, import.meta.url));
    const child = spawn(process.execPath, [file, ...args], {
      stdio: ["ignore", "inherit", "inherit"],
      env: { ...process.env, NODE_NO_WARNINGS: "1" },
    });
    child.on("error", reject);
    child.on("close", (code) => (code === 0 ? resolve() : reject(new Error(`status ${code}`))));
  });
}

test("each of several processes that make images of one config keeps what the others made", async () => {
  const COUNT = 40;
  {
    using repository = openRepository(path);
    for (let i = 0; i < COUNT; i++) store(repository, numbered(i), `image${i}`);
  }
  const begin = String(Date.now() + 1500);
  await Promise.all(
    Object.keys(VARIANTS).map((variant) => run("./commit-process.ts", path, variant, begin)),
  );
  using repository = openRepository(path);
  for (let i = 0; i < COUNT; i++) {
    const found = openImage(repository, `image${i}`);
    const expected = [
      imageRef(1, false, "allowlist-only"),
      imageRef(1, true, "allowlist-only"),
      imageRef(1, true, "keep-user-xattrs"),
    ];
    expect([...found.images.keys()].sort(), `image ${i}`).toEqual(expected.sort());
    // The manifest names the config's stream that the link leads to, as composefs-rs needs it.
    const named = repository.readStreamObject(found.manifest!.stream).namedRefs();
    expect(toHex(named.get(configRef(found.config.digest))!)).toBe(toHex(found.config.stream));
  }
  expect(repository.listRefs("streams", "cfsboot")).toEqual([]);
  collectGarbage(repository);
  expect(checkRepository(repository).findings).toEqual([]);
  expect(checkImages(repository).findings).toEqual([]);
  expect(repository.listImages().length).toBe(2 * COUNT);
});

test("between any two rewrites there may be another process's", () => {
  using repository = openRepository(path);
  store(repository, numbered(0), "x");
  const before = openImage(repository, "x");
  {
    using other = openRepository(path);
    commitImages(other, openImage(other, "x"), { bootable: true });
  }
  commitImages(repository, before, { bootable: true, xattrs: "keep-user-xattrs" });
  expect(openImage(repository, "x").images.size).toBe(3);
});
