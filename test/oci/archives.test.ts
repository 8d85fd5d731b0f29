/** Images from archives and directories: those that are written here and those that skopeo writes, good and hostile. */
import { execFileSync, spawnSync } from "node:child_process";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, type TestContext, test, vi } from "vitest";
import { openArchive } from "../../userspace/oci/archive.ts";
import type { PullResult } from "../../userspace/oci/pull.ts";
import { compress, type Image, image, type TarFile, tar, writeLayout } from "./fixtures/images.ts";
import { failure, makeRepository, pullInto } from "./fixtures/pulling.ts";

const base = tar([{ path: "usr/" }, { path: "usr/a", data: "a".repeat(10_000) }]);
const top = tar([{ path: "usr/" }, { path: "usr/b", data: "b".repeat(20_000) }]);
const oci = image([
  { tar: base, compression: "gzip" },
  { tar: top, compression: "zstd" },
]);
const other = image([{ tar: top, compression: "gzip" }]);

let scratch: string;
beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), "archives-"));
});
afterEach(() => rmSync(scratch, { recursive: true }));

let repositories = 0;

function pullFresh(source: string): Promise<PullResult> {
  const path = makeRepository(join(scratch, `repo${repositories++}`));
  return pullInto(path, source);
}

function write(name: string, bytes: Uint8Array): string {
  const path = join(scratch, name);
  writeFileSync(path, bytes);
  return path;
}

function layout(images = [{ image: oci, tag: "v1" }]): string {
  const directory = join(scratch, "layout");
  writeLayout(directory, images);
  return directory;
}

function filesBelow(directory: string): TarFile[] {
  const names = readdirSync(directory, { recursive: true, withFileTypes: true });
  return names
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .map((path) => ({ path: path.slice(directory.length + 1), data: readFileSync(path) }));
}

function needsSkopeo(ctx: TestContext): void {
  if (spawnSync("skopeo", ["--version"]).status !== 0) ctx.skip("skopeo is not installed");
}

function skopeoCopy(source: string, destination: string): void {
  const args = ["--insecure-policy", "copy", "--quiet", source, destination];
  execFileSync("skopeo", args, { stdio: ["ignore", "ignore", "pipe"] });
}

/** As `docker save` writes it. */
function dockerArchive(images: readonly { image: Image; tags?: string[] | null }[]): TarFile[] {
  const uncompressed: Record<string, Buffer> = {
    [oci.diffIds[0]!]: base,
    [oci.diffIds[1]!]: top,
  };
  const files = new Map<string, TarFile>();
  const add = (path: string, data: Uint8Array) => files.set(path, { path, data });
  const manifest = images.map(({ image: one, tags = [] }) => {
    const config = `${one.config.digest.slice(7)}.json`;
    add(config, one.config.bytes);
    const layers = one.diffIds.map((id) => `${id.slice(7)}/layer.tar`);
    for (const [i, path] of layers.entries()) add(path, uncompressed[one.diffIds[i]!]!);
    return { Config: config, RepoTags: tags, Layers: layers };
  });
  return [...files.values(), { path: "manifest.json", data: JSON.stringify(manifest) }];
}

describe("oci-archive", () => {
  test.each(["none", "gzip", "zstd"] as const)("gives what the layout gives: %s", async (how) => {
    const directory = layout();
    const file = write("x.tar", compress(tar(filesBelow(directory)), how));
    const expected = await pullFresh(`oci:${directory}:v1`);
    for (const source of [`oci-archive:${file}`, `oci-archive:${file}:v1`])
      expect(await pullFresh(source)).toEqual(expected);
    expect(expected.stats.objectsStored).toBe(2);
  });

  test("whatever its members' names begin with, and with a tag that is a whole name", async () => {
    const tag = "docker.io/library/debian:13";
    const directory = layout([{ image: oci, tag }]);
    const files = filesBelow(directory).map((file) => ({ ...file, path: `./${file.path}` }));
    const file = write("x.tar", tar([{ path: "./" }, ...files]));
    expect((await pullFresh(`oci-archive:${file}:${tag}`)).manifestDigest).toBe(
      oci.manifest.digest,
    );
    expect(await failure(pullFresh(`oci-archive:${file}:v2`))).toContain(
      `${file}: index.json: no tag "v2"; there is ${tag}`,
    );
  });

  test("by skopeo", async (ctx) => {
    needsSkopeo(ctx);
    const directory = layout();
    const expected = await pullFresh(`oci:${directory}:v1`);
    skopeoCopy(`oci:${directory}:v1`, `oci-archive:${scratch}/skopeo.tar:v1`);
    expect((await pullFresh(`oci-archive:${scratch}/skopeo.tar:v1`)).image).toBe(expected.image);
  });

  test("a blob that is not what it is named is refused", async () => {
    const directory = layout();
    const name = `blobs/sha256/${oci.layers[0]!.digest.slice(7)}`;
    const files = filesBelow(directory).map((file) =>
      file.path === name ? { ...file, data: oci.layers[1]!.bytes } : file,
    );
    const file = write("x.tar", tar(files));
    expect(await failure(pullFresh(`oci-archive:${file}`))).toContain("layer 1");
  });

  test("what is none is refused: no file, no archive, no layout", async () => {
    const pulled = (name: string) => failure(pullFresh(`oci-archive:${join(scratch, name)}`));
    expect(await pulled("none")).toContain("no such file");
    write("text", Buffer.from("hello".repeat(200)));
    expect(await pulled("text")).toContain(`${scratch}/text: tar offset 148: checksum`);
    write("empty.tar", tar([]));
    expect(await pulled("empty.tar")).toContain('has no file "oci-layout"');
    write("damaged.gz", compress(tar([]), "gzip").subarray(0, 20));
    expect(await pulled("damaged.gz")).toContain(`${scratch}/damaged.gz: unexpected end of file`);
  });
});

describe("docker-archive", () => {
  test("has the config and the layers of the image, and the same tree", async () => {
    const expected = await pullFresh(`oci:${layout()}`);
    const file = write("x.tar", tar(dockerArchive([{ image: oci, tags: ["debian:13"] }])));
    const sources = ["", ":debian:13", ":docker.io/library/debian:13", ":@0"];
    for (const source of sources.map((which) => `docker-archive:${file}${which}`)) {
      const result = await pullFresh(source);
      expect(result).toMatchObject({
        configDigest: oci.config.digest,
        image: expected.image,
        stats: expected.stats,
      });
    }
  });

  test("of several images by name or place", async () => {
    const two = [
      { image: oci, tags: ["quay.io/a/b:1", "quay.io/a/b:latest"] },
      { image: other, tags: null },
    ];
    const file = write("x.tar", tar(dockerArchive(two)));
    const config = async (which: string) =>
      (await pullFresh(`docker-archive:${file}${which}`)).configDigest;
    expect(await config(":quay.io/a/b")).toBe(oci.config.digest);
    expect(await config(":@1")).toBe(other.config.digest);
    expect(await failure(config(""))).toContain("has 2 images (quay.io/a/b:1, @1), expected one");
    expect(await failure(config(":b"))).toContain("none is docker.io/library/b:latest");
    expect(await failure(config(":@2"))).toContain("has 2 images, none is @2");
  });

  test("layers may be links, and compressed", async () => {
    const expected = await pullFresh(`oci:${layout()}`);
    const config = "blobs/sha256/config";
    const gzipped = compress(top, "gzip");
    const manifest = [{ Config: config, Layers: ["one/layer.tar", "two.tar.gz"] }];
    const file = write(
      "x.tar",
      tar([
        { path: "one/layer.tar", type: "2", link: "../shared/layer.tar" },
        { path: "shared/layer.tar", type: "1", link: "real.tar" },
        { path: "real.tar", data: base },
        { path: "two.tar.gz", data: gzipped },
        { path: config, data: oci.config.bytes },
        { path: "manifest.json", data: JSON.stringify(manifest) },
      ]),
    );
    expect((await pullFresh(`docker-archive:${file}`)).image).toBe(expected.image);
  });

  test("by skopeo", async (ctx) => {
    needsSkopeo(ctx);
    const directory = layout([{ image: other, tag: "v1" }]); // older ones know no zstd here
    const expected = await pullFresh(`oci:${directory}:v1`);
    skopeoCopy(`oci:${directory}:v1`, `docker-archive:${scratch}/skopeo.tar:debian:13`);
    const result = await pullFresh(`docker-archive:${scratch}/skopeo.tar:debian:13`);
    expect(result.image).toBe(expected.image);
  });

  test("layers that are not those of the config are refused", async () => {
    const files = dockerArchive([{ image: oci }]);
    const swapped = files.map((file) =>
      file.path === `${oci.diffIds[0]!.slice(7)}/layer.tar` ? { ...file, data: top } : file,
    );
    const file = write("x.tar", tar(swapped));
    expect(await failure(pullFresh(`docker-archive:${file}`))).toContain(
      `the digest ${oci.diffIds[1]}; expected ${oci.diffIds[0]}`,
    );
  });

  test("what is missing or makes no sense is named", async () => {
    const attempt = (document: unknown, ...more: TarFile[]) => {
      const data = JSON.stringify(document);
      const file = write("x.tar", tar([...more, { path: "manifest.json", data }]));
      return failure(pullFresh(`docker-archive:${file}`));
    };
    const config = { path: "c", data: oci.config.bytes };
    expect(await attempt({})).toContain("x.tar: manifest.json: expected a list");
    expect(await attempt([])).toContain("manifest.json: has 0 images, expected one");
    expect(await attempt([{ Config: "c", Layers: [] }])).toContain('has no file "c"');
    expect(await attempt([{ Config: "c", Layers: ["a"] }], config)).toContain(
      "x.tar: c: states 2 diff_ids; manifest.json has 1 layers",
    );
    expect(await attempt([{ Config: "c", Layers: ["a", "b"] }], config)).toContain(
      'has no file "a"',
    );
    const loop: TarFile = { path: "a", type: "2", link: "a" };
    expect(await attempt([{ Config: "c", Layers: ["a", "a"] }], config, loop)).toContain(
      'has no file "a"',
    );
    expect(await attempt([{ Config: "../../etc/passwd", Layers: [] }], config, loop)).toContain(
      'has no file "../../etc/passwd"',
    );
  });
});

describe("dir", () => {
  function directory(images = [oci]): string {
    const path = join(scratch, "dir");
    mkdirSync(path);
    writeFileSync(join(path, "version"), "Directory Transport Version: 1.1\n");
    for (const one of images) {
      const hex = (digest: string) => digest.slice("sha256:".length);
      for (const blob of [one.config, ...one.layers])
        writeFileSync(join(path, hex(blob.digest)), blob.bytes);
      writeFileSync(join(path, `${hex(one.manifest.digest)}.manifest.json`), one.manifest.bytes);
    }
    writeFileSync(join(path, "manifest.json"), images[0]!.manifest.bytes);
    return path;
  }

  test("gives what the layout gives", async () => {
    expect(await pullFresh(`dir:${directory()}`)).toEqual(await pullFresh(`oci:${layout()}`));
  });

  test("of several platforms", async () => {
    const foreign = image([{ tar: top, compression: "none" }], { architecture: "riscv64" });
    const path = directory([foreign, oci]);
    const manifests = [foreign, oci].map(({ manifest: { mediaType, digest, size } }, i) => ({
      ...{ mediaType, digest, size },
      platform: { os: "linux", architecture: ["riscv64", "amd64"][i] },
    }));
    writeFileSync(join(path, "manifest.json"), JSON.stringify({ schemaVersion: 2, manifests }));
    expect((await pullFresh(`dir:${path}`)).manifestDigest).toBe(oci.manifest.digest);
  });

  test("by skopeo", async (ctx) => {
    needsSkopeo(ctx);
    const source = layout();
    skopeoCopy(`oci:${source}:v1`, `dir:${scratch}/skopeo`);
    expect(await pullFresh(`dir:${scratch}/skopeo`)).toEqual(await pullFresh(`oci:${source}`));
  });

  test("another version, and what is none, are refused", async () => {
    const path = directory();
    writeFileSync(join(path, "version"), "Directory Transport Version: 2.0\n");
    expect(await failure(pullFresh(`dir:${path}`))).toContain("Directory Transport Version: 1.1");
    expect(await failure(pullFresh(`dir:${scratch}`))).toContain("manifest.json");
  });
});

describe("containers-storage", () => {
  test("through skopeo", async (ctx) => {
    needsSkopeo(ctx);
    const source = layout();
    const store = `containers-storage:[vfs@${scratch}/store+${scratch}/run]docker.io/library/x:1`;
    try {
      skopeoCopy(`oci:${source}:v1`, store);
    } catch (error) {
      ctx.skip(`skopeo cannot write a store here: ${String(error).split("\n").at(-2)}`);
    }
    const temporary = mkdtempSync(join(scratch, "temporary-"));
    vi.stubEnv("TMPDIR", temporary);
    const { image: digest } = await pullFresh(store);
    expect(digest).toBe((await pullFresh(`oci:${source}`)).image);
    vi.unstubAllEnvs();
    expect(readdirSync(temporary)).toEqual([]);
  });
});

describe("archives", () => {
  test("one that is cut off, anywhere, is refused or has its files whole", async () => {
    const whole = tar([
      { path: "first", data: "1".repeat(600) },
      { path: "second", data: "2" },
    ]);
    const path = write("x.tar", whole);
    for (let size = whole.length - 1; size >= 0; size -= 37) {
      truncateSync(path, size);
      let archive: Awaited<ReturnType<typeof openArchive>>;
      try {
        archive = await openArchive(path);
      } catch (error) {
        expect(String((error as Error).cause)).toContain(`tar offset`);
        continue;
      }
      const first = archive.find("first");
      if (first !== undefined) expect(archive.read("first", 600).length).toBe(600);
      archive.close();
    }
  });

  test("a size beyond the archive's, and more members than anybody needs", async () => {
    const huge = tar([{ path: "x" }]);
    huge.write("77777777777\0", 124, "latin1");
    huge.fill(" ", 148, 156);
    const sum = huge.subarray(0, 512).reduce((total, byte) => total + byte, 0);
    huge.write(`${sum.toString(8).padStart(6, "0")}\0`, 148, "latin1");
    expect(await failure(openArchive(write("huge.tar", huge)))).toContain(
      "tar offset 512: x: 8589934591 bytes, the archive ends after 1024 of them",
    );
    const header = tar([{ path: "x" }]).subarray(0, 512);
    const many = Buffer.concat(Array.from({ length: 100_001 }, () => header));
    expect(await failure(openArchive(write("many.tar", many)))).toContain(
      "more than 100000 members",
    );
  });

  test("garbage ends in an error that names the file", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ minLength: 1, maxLength: 3000 }),
        fc.nat(2048),
        async (noise, at) => {
          const bytes = tar([
            { path: "manifest.json", data: "[]" },
            { path: "b", data: "b" },
          ]);
          bytes.set(noise.subarray(0, Math.max(0, bytes.length - at)), at);
          const path = write("garbage.tar", bytes);
          try {
            (await openArchive(path)).close();
          } catch (error) {
            expect((error as Error).message).toBe(path);
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  test("links within the archive are followed, not those of the machine", async () => {
    symlinkSync("/etc/passwd", join(scratch, "blob"));
    const path = write(
      "x.tar",
      tar([
        { path: "out", type: "2", link: "../../../../etc/passwd" },
        { path: "root/link", type: "2", link: "/real" },
        { path: "/real", data: "here" },
      ]),
    );
    const archive = await openArchive(path);
    expect(archive.find("out")).toBeUndefined();
    expect(archive.find("blob")).toBeUndefined();
    expect(archive.find("root/link")).toEqual(archive.find("real"));
    expect(Buffer.from(archive.read("./real", 10)).toString()).toBe("here");
    archive.close();
  });
});
