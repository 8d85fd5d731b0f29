/** Images in a repository: opened, turned into filesystem images, linked so that nothing gets lost. */
import {
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { toHex } from "../../src/formats/digest.ts";
import { formatDumpfile } from "../../src/formats/dumpfile-writer.ts";
import { tagRef } from "../../src/formats/oci-tag.ts";
import type { XattrMode } from "../../src/model/transform.ts";
import { describeError } from "../../userspace/cli/errors.ts";
import { commitImages, imageDigest, imageTree } from "../../userspace/oci/commit.ts";
import { listTags, openImage, tagImage, untagImage } from "../../userspace/oci/image.ts";
import { LayerImport } from "../../userspace/oci/layer.ts";
import { listImages } from "../../userspace/oci/list.ts";
import {
  configContentId,
  configRef,
  imageRef,
  manifestContentId,
  readDocument,
  writeConfigStream,
  writeManifestStream,
} from "../../userspace/oci/streams.ts";
import { isProblem } from "../../userspace/repository/errors.ts";
import { initRepository } from "../../userspace/repository/init.ts";
import { openRepository, type Repository } from "../../userspace/repository/repository.ts";
import { concat, END, header, member, pax } from "../formats/tar/archive.ts";
import { descriptor, type Image, image, json, tar } from "./fixtures/images.ts";

let scratch: string;
let repository: Repository;
beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), "image-"));
  const path = join(scratch, "repo");
  initRepository(path, { hash: "sha256", format: 1, insecure: true });
  repository = openRepository(path);
});
afterEach(() => {
  repository.close();
  rmSync(scratch, { recursive: true });
});

const layer = (bytes: Uint8Array) => ({ tar: Buffer.from(bytes), compression: "none" as const });
const messageOf = (action: () => unknown): string => {
  try {
    action();
  } catch (error) {
    return describeError(error).message;
  }
  throw new Error("no error");
};

/** What a pull stores before there are filesystem images. */
function store(stored: Image, tag?: string): string {
  const layers = stored.diffIds.map((diffId, i) => {
    const target = new LayerImport(repository, diffId);
    target.write(stored.layers[i]!.bytes);
    return [diffId, target.finish()] as const;
  });
  const { config, manifest } = stored;
  const id = repository.streamObject(configContentId(config.digest));
  const stream = id ?? writeConfigStream(repository, config.digest, config.bytes, layers);
  const named = { digest: config.digest, stream };
  writeManifestStream(repository, manifest.digest, manifest.bytes, named, layers);
  if (tag !== undefined) tagImage(repository, manifest.digest, tag);
  return `@${manifest.digest}`;
}

/** Another manifest with the same config. */
function sibling(of: Image): Image {
  const document = JSON.parse(of.manifest.bytes.toString());
  const manifest = json(of.manifest.mediaType, { ...document, annotations: { other: "one" } });
  return { ...of, manifest };
}

const bootable = image([
  layer(
    tar([
      { path: "usr/" },
      { path: "usr/lib", data: "x".repeat(5000) },
      { path: "boot/", mtime: 5 },
      { path: "boot/vmlinuz", data: "k".repeat(100) },
      { path: "sysroot/" },
      { path: "run/" },
      { path: "run/x" },
    ]),
  ),
  layer(tar([{ path: "etc/" }, { path: "etc/hostname", data: "name\n" }])),
]);

/** Names of the references in a config's stream, as its manifest leads there and as its link does. */
function refsOf({ manifest, config }: Image) {
  const stream = repository.streamObject(manifestContentId(manifest.digest))!;
  const { refs } = readDocument(repository, stream, "oci-manifest", "m", 1 << 20);
  const named = refs.get(configRef(config.digest))!;
  const linked = repository.streamObject(configContentId(config.digest))!;
  expect(toHex(named)).toBe(toHex(linked));
  return readDocument(repository, named, "oci-config", "c", 1 << 20).refs;
}

const hexes = (refs: ReadonlyMap<string, Uint8Array>) =>
  Object.fromEntries([...refs].map(([name, digest]) => [name, toHex(digest)]));

test("contents get the digests that other implementations give them", () => {
  const zeros = (size: number) => Buffer.alloc(size);
  const files = [0, 4095, 4096, 4097].map((size) => ({
    path: `file${size}`,
    mode: 0o700,
    mtime: 0,
    data: zeros(size),
  }));
  const name = store(image([layer(tar([{ path: "usr/", mtime: 0 }, ...files]))]));
  expect(formatDumpfile(imageTree(repository, openImage(repository, name))).split("\n")).toEqual([
    "/ 0 40755 3 0 0 0 0.0 - - -",
    "/file0 0 100700 1 0 0 0 0.0 - - -",
    "/file4095 4095 100700 1 0 0 0 0.0 53/72beb83c78537c8970c8361e3254119fafdf1763854ecd57d3f0fe2da7c719 - 5372beb83c78537c8970c8361e3254119fafdf1763854ecd57d3f0fe2da7c719",
    "/file4096 4096 100700 1 0 0 0 0.0 ba/bc284ee4ffe7f449377fbf6692715b43aec7bc39c094a95878904d34bac97e - babc284ee4ffe7f449377fbf6692715b43aec7bc39c094a95878904d34bac97e",
    "/file4097 4097 100700 1 0 0 0 0.0 09/3756e4ea9683329106d4a16982682ed182c14bf076463a9e7f97305cbac743 - 093756e4ea9683329106d4a16982682ed182c14bf076463a9e7f97305cbac743",
    "/usr 0 40755 2 0 0 0 0.0 - - -",
    "",
  ]);
});

test("a tree of several layers, with all that a layer can hold", () => {
  const lower = concat(
    header({ name: "./", type: "5", mode: 0o700 }),
    pax({ mtime: "100.25", "SCHILY.xattr.security.selinux": "s", "SCHILY.xattr.user.u": "v" }),
    header({ name: "./usr/", type: "5", mode: 0o755, uid: 3 }),
    pax({ path: `./usr/${"n".repeat(200)}`, "SCHILY.xattr.security.capability": "\x01\x02" }),
    member({}, "tiny"),
    header({ name: "usr/null", type: "3", devMajor: 1, devMinor: 3, mode: 0o666 }),
    header({ name: "usr/pipe", type: "6" }),
    member({ name: "gone" }, "x".repeat(65)),
    header({ name: "kept", type: "1", linkName: "gone" }),
    END,
  );
  const upper = concat(
    header({ name: ".wh.gone" }),
    header({ name: "l", type: "2", linkName: "usr" }),
  );
  const name = store(image([layer(lower), layer(upper)]));
  const dump = (xattrs: XattrMode) =>
    formatDumpfile(imageTree(repository, openImage(repository, name), { xattrs }));
  const long = "n".repeat(200);
  const kept = toHex(repository.storeObject(new Uint8Array(Buffer.from("x".repeat(65)))).digest);
  expect(dump("allowlist-only").split("\n")).toEqual([
    "/ 0 40755 3 3 0 0 100.250000000 - - -",
    `/kept 65 100644 1 0 0 0 0.0 ${kept.slice(0, 2)}/${kept.slice(2)} - ${kept}`,
    "/l 3 120644 1 0 0 0 0.0 usr - -",
    "/usr 0 40755 2 3 0 0 100.250000000 - - -",
    `/usr/${long} 4 100644 1 0 0 0 0.0 - tiny - security.capability=\\x01\\x02`,
    "/usr/null 0 20666 1 0 0 259 0.0 - - -",
    "/usr/pipe 0 10644 1 0 0 0 0.0 - - -",
    "",
  ]);
  expect(dump("keep-user-xattrs")).toContain("/usr 0 40755 2 3 0 0 100.250000000 - - - user.u=v\n");
});

describe("committing", () => {
  test("stores the image, and refers to it from the config that the manifest leads to", () => {
    const opened = openImage(repository, store(bootable));
    const [committed, ...more] = commitImages(repository, opened);
    expect(more).toEqual([]);
    expect(committed).toMatchObject({ format: 1, bootable: false });
    const hex = toHex(committed!.digest);
    expect(hex).toBe(toHex(imageDigest(repository, opened, 1)));
    expect(repository.listImages()).toEqual([hex]);
    expect(hexes(refsOf(bootable))).toEqual({
      "composefs.image.v1": hex,
      ...Object.fromEntries(
        bootable.diffIds.map((id) => [id, toHex(repository.streamObject(`oci-layer-${id}`)!)]),
      ),
    });
    // Nothing of ours is left lying about.
    expect(repository.listRefs("streams")).toEqual([]);
    // Doing it again changes nothing.
    const before = repository.streamObject(manifestContentId(bootable.manifest.digest));
    commitImages(repository, openImage(repository, `@${bootable.manifest.digest}`));
    expect(repository.streamObject(manifestContentId(bootable.manifest.digest))).toEqual(before);
  });

  test("documents stay byte for byte what they were", () => {
    const name = store(bootable);
    commitImages(repository, openImage(repository, name), { bootable: true });
    const { manifest, config } = openImage(repository, name);
    expect(Buffer.from(manifest!.bytes)).toEqual(bootable.manifest.bytes);
    expect(Buffer.from(config.bytes)).toEqual(bootable.config.bytes);
  });

  test("bootable images come besides the others, one for each way of filtering", () => {
    const name = store(bootable);
    commitImages(repository, openImage(repository, name));
    const [plain, boot] = commitImages(repository, openImage(repository, name), { bootable: true });
    const xattrs = "keep-user-xattrs";
    const [, user] = commitImages(repository, openImage(repository, name), {
      bootable: true,
      xattrs,
    });
    expect(boot!.bootable).toBe(true);
    expect(boot!.digest).not.toEqual(plain!.digest);
    expect(boot!.digest).toEqual(
      imageDigest(repository, openImage(repository, name), 1, { bootable: true }),
    );
    const { images } = openImage(repository, name);
    expect(hexes(images)).toEqual({
      "composefs.image.v1": toHex(plain!.digest),
      "composefs.image.boot.v1": toHex(boot!.digest),
      "composefs.image.boot.v1.xattrs=keep-user-xattrs": toHex(user!.digest),
    });
  });

  test("every format of the repository, the default one first", () => {
    repository.close();
    const path = join(scratch, "repo", "meta.json");
    const meta = JSON.parse(readFileSync(path, "utf8"));
    meta.erofs_formats = { default: 1, extra: [2] };
    rmSync(path);
    writeFileSync(path, JSON.stringify(meta));
    repository = openRepository(join(scratch, "repo"));
    const opened = openImage(repository, store(bootable));
    const committed = commitImages(repository, opened, { bootable: true });
    expect(committed.map(({ format, bootable }) => [format, bootable])).toEqual([
      [1, false],
      [2, false],
      [1, true],
      [2, true],
    ]);
    expect([...openImage(repository, opened.name).images.keys()].sort()).toEqual([
      "composefs.image",
      "composefs.image.boot",
      "composefs.image.boot.v1",
      "composefs.image.v1",
    ]);
    for (const { format, bootable, digest } of committed) {
      expect(imageDigest(repository, opened, format, { bootable })).toEqual(digest);
    }
  });

  test("an image that cannot boot leaves no image behind", () => {
    const opened = openImage(repository, store(image([layer(tar([{ path: "usr/" }]))]), "small"));
    expect(messageOf(() => commitImages(repository, opened, { bootable: true }))).toBe(
      `image ${opened.name}: /boot does not exist: a bootable image needs it`,
    );
    expect(repository.listImages()).toEqual([]);
  });

  test("all manifests of one config lead to the config's present stream", () => {
    const other = sibling(bootable);
    store(bootable);
    store(other);
    commitImages(repository, openImage(repository, `@${bootable.manifest.digest}`));
    commitImages(repository, openImage(repository, `@${other.manifest.digest}`), {
      bootable: true,
    });
    for (const one of [bootable, other]) {
      expect([...refsOf(one).keys()]).toEqual(
        expect.arrayContaining(["composefs.image.v1", "composefs.image.boot.v1"]),
      );
    }
    // Layers are named by manifests, too, and their streams are the ones that are linked.
    const { layers } = openImage(repository, `@${other.manifest.digest}`);
    for (const { digest, stream } of layers) {
      expect(repository.streamObject(`oci-layer-${digest}`)).toEqual(stream);
    }
  });

  test("what another one added meanwhile stays", () => {
    const opened = openImage(repository, store(bootable));
    commitImages(repository, openImage(repository, opened.name), { bootable: true });
    commitImages(repository, opened);
    expect([...openImage(repository, opened.name).images.keys()]).toContain(
      "composefs.image.boot.v1",
    );
  });

  test("a rewrite that was interrupted is completed", () => {
    const other = image([layer(tar([{ path: "usr/" }, { path: "usr/a" }]))]);
    store(bootable);
    // As after a crash between the config's stream and the manifest's: the manifest names the old one.
    const { config, diffIds, manifest } = bootable;
    const layers = diffIds.map((id) => [id, repository.streamObject(`oci-layer-${id}`)!] as const);
    const [made] = commitImages(repository, openImage(repository, `@${manifest.digest}`));
    const old = writeConfigStream(repository, config.digest, config.bytes, layers);
    const named = { digest: config.digest, stream: old };
    writeManifestStream(repository, manifest.digest, manifest.bytes, named, layers);
    const images = [[imageRef(1, false, "allowlist-only"), made!.digest]] as const;
    writeConfigStream(repository, config.digest, config.bytes, layers, images);
    repository.setRef(
      "streams",
      `cfsboot/rewriting/${config.digest}`,
      configContentId(config.digest),
    );
    // It can be used as it is,
    expect(openImage(repository, `@${manifest.digest}`).images.size).toBe(1);
    // and the next commit, of any image, makes it whole.
    commitImages(repository, openImage(repository, store(other)));
    expect(hexes(refsOf(bootable))).toMatchObject({ "composefs.image.v1": toHex(made!.digest) });
    expect(repository.listRefs("streams")).toEqual([]);
  });
});

describe("finding images", () => {
  test("by tag, by the manifest's and by the config's digest", () => {
    store(bootable, "a/b:c");
    const { manifest, config } = bootable;
    for (const name of ["a/b:c", `@${manifest.digest}`]) {
      expect(openImage(repository, name)).toMatchObject({
        name,
        manifest: { digest: manifest.digest },
        config: { digest: config.digest, document: { architecture: "amd64" } },
        layers: bootable.diffIds.map((digest) => ({ digest })),
      });
    }
    const byConfig = openImage(repository, `@${config.digest}`);
    expect(byConfig.manifest).toBeUndefined();
    expect(imageDigest(repository, byConfig, 2)).toEqual(
      imageDigest(repository, openImage(repository, "a/b:c"), 2),
    );
  });

  test("what is not there is told apart", () => {
    const absent = `@sha256:${"0".repeat(64)}`;
    for (const name of ["none", absent]) {
      expect(messageOf(() => openImage(repository, name))).toBe(
        `image ${name}: there is no such image`,
      );
      try {
        openImage(repository, name);
      } catch (error) {
        expect(isProblem((error as Error).cause, "not-found")).toBe(true);
      }
    }
    expect(messageOf(() => openImage(repository, "@sha256:abc"))).toContain("expected @sha256:");
    expect(messageOf(() => openImage(repository, ""))).toContain("expected a name");
  });

  test("a stream whose document is another one is not believed", () => {
    store(bootable, "tag");
    const { manifest, config } = bootable;
    const forged = { ...config, digest: config.digest };
    const layers = bootable.diffIds.map(
      (id) => [id, repository.streamObject(`oci-layer-${id}`)!] as const,
    );
    writeConfigStream(repository, forged.digest, Buffer.from(`${config.bytes} `), layers);
    expect(messageOf(() => openImage(repository, "tag"))).toMatch(
      /^image tag: config sha256:\w+: the document's digest is sha256:/,
    );
    writeConfigStream(repository, config.digest, config.bytes, layers.slice(1));
    expect(messageOf(() => openImage(repository, "tag"))).toBe(
      `image tag: config ${config.digest} has lost its layer ${bootable.diffIds[0]}`,
    );
    const named = { digest: config.digest, stream: new Uint8Array(32) };
    writeManifestStream(repository, manifest.digest, Buffer.from("{}"), named, []);
    expect(messageOf(() => openImage(repository, "tag"))).toContain("the document's digest is");
  });

  test("tags are listed, moved and removed", () => {
    const other = sibling(bootable);
    store(bootable, "b");
    store(other, "a/x");
    expect(readlinkSync(join(repository.path, "streams/refs", tagRef("a/x")))).toBe(
      `../../oci-manifest-${other.manifest.digest}`,
    );
    tagImage(repository, other.manifest.digest, "b");
    // References of others are none of our tags.
    symlinkSync("../../oci-config-x", join(repository.path, "streams/refs/oci/foreign"));
    expect(listTags(repository)).toEqual([
      { tag: "a/x", manifestDigest: other.manifest.digest },
      { tag: "b", manifestDigest: other.manifest.digest },
    ]);
    expect(untagImage(repository, "b")).toBe(true);
    expect(untagImage(repository, "b")).toBe(false);
    expect(listTags(repository)).toHaveLength(1);
  });

  test("the list tells about those that cannot be read", () => {
    store(bootable, "good");
    store(sibling(bootable), "bad");
    repository.removeStream(manifestContentId(sibling(bootable).manifest.digest));
    const errors: string[] = [];
    const list = listImages(repository, (error) => errors.push(describeError(error).message));
    expect(list).toEqual([
      {
        name: "good",
        manifestDigest: bootable.manifest.digest,
        isContainer: true,
        architecture: "amd64",
        os: "linux",
        created: null,
        layerCount: 2,
        referrerCount: 0,
      },
    ]);
    expect(errors).toEqual([expect.stringContaining("image bad: manifest sha256:")]);
  });

  test("an artifact has layers, but no filesystem", () => {
    const blobs = { ...bootable, diffIds: bootable.layers.map(({ digest }) => digest) };
    const config = json("application/vnd.oci.empty.v1+json", {});
    const document = {
      ...JSON.parse(blobs.manifest.bytes.toString()),
      config: descriptor(config),
    };
    const manifest = json(blobs.manifest.mediaType, document);
    const name = store({ ...blobs, config, manifest }, "artifact");
    expect(openImage(repository, name).config.document).toBeUndefined();
    expect(listImages(repository, () => {})[0]).toMatchObject({
      isContainer: false,
      layerCount: 2,
    });
    expect(messageOf(() => commitImages(repository, openImage(repository, name)))).toContain(
      "an artifact has no filesystem",
    );
  });

  test("a tree that cannot be made names image, layer and path", () => {
    const broken = image([layer(tar([{ path: "usr/" }])), layer(tar([{ path: "a/b" }]))]);
    store(broken, "broken");
    expect(messageOf(() => imageTree(repository, openImage(repository, "broken")))).toBe(
      `image broken: layer 2 (${broken.diffIds[1]}): "a/b": "a" does not exist`,
    );
  });
});
