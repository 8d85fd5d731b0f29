/** Images from containers' storage: stores that are written here, good and hostile, and those that the tools write. */
import { execFileSync, spawnSync } from "node:child_process";
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import zlib from "node:zlib";
import { afterEach, beforeEach, describe, expect, type TestContext, test } from "vitest";
import { objectPath, toHex } from "../../src/formats/digest.ts";
import { AT_FDCWD, F_WRLCK, O_RDWR } from "../../src/linux/constants.ts";
import { linux } from "../../userspace/linux.ts";
import { openStoredImage } from "../../userspace/oci/containers-storage/open.ts";
import { storePlaces } from "../../userspace/oci/containers-storage/places.ts";
import { checkImages } from "../../userspace/oci/fsck.ts";
import type { SourceOptions } from "../../userspace/oci/open.ts";
import { pull } from "../../userspace/oci/pull.ts";
import { parseReference, type StorageReference } from "../../userspace/oci/reference.ts";
import type { ConfPlaces } from "../../userspace/oci/registries.ts";
import { repairImages } from "../../userspace/oci/repair.ts";
import { checkRepository } from "../../userspace/repository/fsck.ts";
import { openRepository } from "../../userspace/repository/repository.ts";
import {
  imagesJson,
  layerId,
  type StoreContent,
  tarSplit,
  writeStore,
} from "./fixtures/containers-store.ts";
import { image, indexEntries, json, type TarFile, tar, writeLayout } from "./fixtures/images.ts";
import { failure, makeRepository, names, pullInto, requireIntact } from "./fixtures/pulling.ts";

const base = tar([
  { path: "./" },
  { path: "usr/" },
  { path: "usr/lib/" },
  { path: "lib", type: "2", link: "usr/lib" },
  { path: "usr/lib/large", data: "large".repeat(2000) },
  { path: "usr/lib/hard", type: "1", link: "usr/lib/large" },
  { path: "usr/lib/just-inline", data: "i".repeat(64) },
  { path: "usr/lib/just-external", data: "e".repeat(65) },
  { path: "usr/lib/set-id", mode: 0o4755, data: "s".repeat(3000) },
  { path: "usr/lib/empty" },
  { path: "/usr//lib/./absolute", data: "a".repeat(600) },
  { path: "usr/lib/é \u{1f600}", data: "u".repeat(600) },
]);
const top = tar([
  { path: "usr/lib/.wh.large" },
  { path: "usr/lib/again", data: "large".repeat(2000) },
]);
const whole = image([
  { tar: base, compression: "gzip" },
  { tar: top, compression: "zstd" },
]);
const NAME = "docker.io/library/x:1";
const CONTENT: StoreContent = { images: [{ image: whole, names: [NAME] }], layers: [base, top] };

const NOWHERE: ConfPlaces = { env: {}, uid: 0, system: [] };

let scratch: string;
beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), "storage-"));
});
afterEach(() => rmSync(scratch, { recursive: true }));

let repositories = 0;
const fresh = () => makeRepository(join(scratch, `repo${repositories++}`));

async function pullFresh(source: string, options: Partial<SourceOptions> = {}) {
  const path = fresh();
  return { path, ...(await pullInto(path, source, options)) };
}

function store(content = CONTENT): string {
  const root = join(scratch, "store");
  writeStore(root, content);
  return root;
}

/** What a pull from an image layout makes. */
async function expectedNames(expected = whole): Promise<string[]> {
  const directory = join(scratch, `layout${repositories}`);
  writeLayout(directory, [{ image: expected, tag: "v1" }]);
  return names((await pullFresh(`oci:${directory}:v1`)).path);
}

/** Opens an image natively, or not at all. */
function open(source: string, places = NOWHERE) {
  return openStoredImage(parseReference(source) as StorageReference, places);
}

/** A store of one image, of one layer, of one file in an otherwise empty directory. */
const only = (file: TarFile) => {
  const layer = tar([{ path: "usr/" }, file]);
  const one = image([{ tar: layer, compression: "none" }]);
  const root = store({ images: [{ image: one, names: [NAME] }], layers: [layer] });
  const directory = join(root, "overlay", layerId(layer));
  const split = join(root, "overlay-layers", `${layerId(layer)}.tar-split.gz`);
  return { root, source: `containers-storage:[${root}]x:1`, diff: join(directory, "diff"), split };
};

describe("a store", () => {
  test("gives what a pull of the archives gives, to the byte", async () => {
    const pulled = await pullFresh(`containers-storage:[overlay@${store()}]x:1`);
    expect(names(pulled.path)).toEqual(await expectedNames());
    expect(requireIntact(pulled.path)).toContain(`oci-layer-${whole.diffIds[0]}`);
    expect(pulled.manifestDigest).toBe(whole.manifest.digest);
    expect(pulled.stats).toMatchObject({ objectsStored: 5, objectsExisting: 1 });
  });

  test("and of layers that are worth a thread, too", async () => {
    const bytes = Buffer.alloc(6 << 20);
    for (let i = 0; i < bytes.length; i += 4) bytes.writeUInt32LE((i * 2654435761) >>> 0, i);
    const big = tar([{ path: "usr/" }, { path: "usr/big", data: bytes }]);
    const images = [{ image: image([{ tar: big, compression: "none" }]), names: [NAME] }];
    const root = store({ images, layers: [big] });
    const pulled = await pullFresh(`containers-storage:[${root}]x:1`);
    expect(names(pulled.path)).toEqual(await expectedNames(images[0]!.image));
    appendFileSync(join(root, "overlay", layerId(big), "diff/usr/big"), "x");
    expect(await failure(pullFresh(`containers-storage:[${root}]x:1`))).toContain(
      `diff/usr/big: has ${bytes.length + 1} bytes; expected ${bytes.length}`,
    );
  });

  test("files are not copied where they need not be (bootc#20, container-libs#144)", async (ctx) => {
    if (process.getuid!() !== 0) ctx.skip("only root may link files by their descriptors");
    const { stats } = await pullFresh(`containers-storage:[${store()}]x:1`);
    const shared = stats.objectsReflinked + stats.objectsHardlinked;
    // programs that run as their owner are not linked
    expect(shared).toBe(stats.objectsStored - (stats.objectsReflinked > 0 ? 0 : 1));
  });

  test("nor where the store is mounted over itself, as podman does it", async (ctx) => {
    if (process.getuid!() !== 0) ctx.skip("only root may mount");
    const root = store();
    const { stats: before } = await pullFresh(`containers-storage:[${root}]x:1`);
    const over = join(root, "overlay");
    if (spawnSync("mount", ["--bind", over, over]).status !== 0)
      ctx.skip("mount --bind is refused");
    try {
      const { stats } = await pullFresh(`containers-storage:[${root}]x:1`);
      expect(stats).toEqual(before);
    } finally {
      unmount(root);
    }
  });

  test.each([
    ["x:1"],
    ["docker.io/library/x:1"],
    [whole.config.digest.slice(7)],
    [whole.config.digest.slice(7, 19)],
    [`@${whole.config.digest.slice(7)}`],
    [`x:1@${whole.config.digest.slice(7, 27)}`],
    [`x@${whole.manifest.digest}`],
    [`docker.io/library/x:other@${whole.manifest.digest}`],
  ])("knows its image as %s", async (name) => {
    const found = await open(`containers-storage:[${store()}]${name}`);
    expect((await found!.root()).digest).toBe(whole.manifest.digest);
    await found!.close();
  });

  test.each([
    ["x", /store: there is no such image$/],
    ["y:1", /there is no such image$/],
    [`y@${whole.manifest.digest}`, /there is no such image$/],
    [`x@sha256:${"0".repeat(64)}`, /there is no such image$/],
    ["0".repeat(64), /there is no such image$/],
    [`y:1@${whole.config.digest.slice(7)}`, /there is no such image$/],
  ])("has no image %s", async (name, message) => {
    expect(await failure(open(`containers-storage:[${store()}]${name}`))).toMatch(message);
  });

  test("an image by the digest of the index that it was chosen from", async () => {
    const platform = { os: "linux", architecture: "amd64" };
    const entries = [
      { image: image([{ tar: top, compression: "none" }]), platform: { ...platform, os: "other" } },
      { image: whole, platform },
    ];
    const type = "application/vnd.oci.image.index.v1+json";
    const index = json(type, { schemaVersion: 2, manifests: indexEntries(entries) });
    const root = store({ ...CONTENT, images: [{ image: whole, names: [NAME], index }] });
    const { path } = await pullFresh(`containers-storage:[${root}]x@${index.digest}`);
    expect(names(path)).toEqual(await expectedNames());
    const both = { image: whole, names: ["quay.io/y/x:1"], index };
    const list = imagesJson(root, [both]);
    writeFileSync(join(root, "overlay-images/images.json"), JSON.stringify(list));
    expect(await failure(open(`containers-storage:[${root}]x@${index.digest}`))).toContain(
      "no such",
    );
  });

  test("gives back what a repository has lost, even if its name has gone on", async () => {
    const root = store();
    const source = `containers-storage:[${root}]x:1`;
    const path = fresh();
    using repository = openRepository(makeRepository(`${path}-lost`));
    const transport = await open(source);
    const platform = { os: "linux", architecture: "amd64" };
    await pull(repository, transport!, { name: source, platform, bootable: false });
    await transport!.close();
    const lost = repository.readStream(`oci-layer-${whole.diffIds[0]}`).objectRefs[0]!;
    rmSync(join(`${path}-lost`, "objects", objectPath(toHex(lost))));

    const other = image([{ tar: top, compression: "none" }]);
    const images = [
      { image: other, names: [NAME] },
      { image: whole, names: ["docker.io/library/x:old"] },
    ];
    writeFileSync(
      join(root, "overlay-images/images.json"),
      JSON.stringify(imagesJson(root, images)),
    );
    const check = () => [
      ...checkRepository(repository).findings,
      ...checkImages(repository).findings,
    ];
    expect(check()).not.toEqual([]);
    const failures = await repairImages(repository, check(), {
      open: async (reference) => (await openStoredImage(reference as StorageReference, NOWHERE))!,
    });
    expect(failures).toEqual([]);
    expect(check()).toEqual([]);
  });

  test("a name that was meant is suggested", async () => {
    const root = store({ ...CONTENT, images: [{ image: whole, names: ["localhost/x:latest"] }] });
    await expect(open(`containers-storage:[${root}]x`)).rejects.toMatchObject({
      hint: "did you mean localhost/x:latest?",
    });
  });

  test("the beginning of several IDs is none", async () => {
    const others = Array.from({ length: 17 }, (_, i) =>
      image([{ tar: base, compression: "none" }], { architecture: `a${i}` }),
    );
    const root = store({ ...CONTENT, images: others.map((one) => ({ image: one, names: [] })) });
    const ids = others.map((one) => one.config.digest.slice(7)).sort();
    // of 17, two begin alike
    const twice = ids.map((id) => id.slice(0, 1)).find((c, i, all) => all.indexOf(c) !== i)!;
    renameSync(`${root}/overlay-images/images.json`, `${root}/all.json`);
    const alike = (JSON.parse(readFileSync(`${root}/all.json`, "utf8")) as { id: string }[])
      .filter(({ id }) => id.startsWith(twice))
      .map((entry) => ({ ...entry, id: `abc${entry.id.slice(3)}` }));
    writeFileSync(`${root}/overlay-images/images.json`, JSON.stringify(alike));
    expect(await failure(open(`containers-storage:[${root}]abc`))).toBe(
      "several images have an ID that begins with abc",
    );
  });

  test("no store, and lists that are none", async () => {
    const root = join(scratch, "none");
    const source = `containers-storage:[overlay@${root}]x:1`;
    expect(await failure(open(source))).toBe(`${root}: there is no containers' storage`);
    writeStore(root, CONTENT);
    writeFileSync(join(root, "overlay-layers/layers.json"), '[{"id":"../../x"}]');
    expect(await failure(open(source))).toContain(
      `${root}/overlay-layers/layers.json: [0].id: expected letters`,
    );
    writeFileSync(join(root, "overlay-images/images.json"), "[{]");
    expect(await failure(open(source))).toContain(
      `${root}/overlay-images/images.json: expected JSON`,
    );
    rmSync(join(root, "overlay-images/images.json"));
    symlinkSync("/etc/passwd", join(root, "overlay-images/images.json"));
    expect(await failure(open(source))).toContain("overlay-images/images.json: Too many levels");
  });

  test("a manifest that was changed is not taken for the image's", async () => {
    const root = store();
    const directory = join(root, "overlay-images", whole.config.digest.slice(7));
    appendFileSync(join(directory, "manifest"), "\n");
    expect(await failure(pullFresh(`containers-storage:[${root}]x:1`))).toContain(
      `expected ${whole.manifest.digest}`,
    );
  });
});

describe("several stores", () => {
  const upper = { images: CONTENT.images, layers: [top] };
  const lower = { images: [], layers: [base] };

  function both(): [string, string] {
    const roots: [string, string] = [join(scratch, "own"), join(scratch, "shared")];
    writeStore(roots[0], upper);
    writeStore(roots[1], lower);
    return roots;
  }

  test("named in the reference", async () => {
    const [own, shared] = both();
    const source = `containers-storage:[overlay@${own}+/run/x:overlay.imagestore=${shared}]x:1`;
    expect(names((await pullFresh(source)).path)).toEqual(await expectedNames());
  });

  test.each(["CONTAINERS_STORAGE_CONF", "system", "STORAGE_OPTS"])("named by %s", async (by) => {
    const [own, shared] = both();
    mkdirSync(join(scratch, "etc"));
    const file = join(scratch, "etc/storage.conf");
    const more = by === "STORAGE_OPTS" ? "/nowhere" : shared;
    writeFileSync(
      file,
      `[storage]\ndriver = "overlay2"\ngraphroot = "${own}"\nrunroot = "/run/x"\n` +
        `[storage.options]\nadditionalimagestores = ["/nowhere/else", "${more}"]\n`,
    );
    const env = by === "CONTAINERS_STORAGE_CONF" ? { [by]: file } : {};
    const places: ConfPlaces = {
      ...NOWHERE,
      env: by === "STORAGE_OPTS" ? { [by]: `overlay.imagestore=${shared}` } : env,
      system: by === "CONTAINERS_STORAGE_CONF" ? [] : [join(scratch, "etc")],
    };
    const { path } = await pullFresh("containers-storage:x:1", { places });
    expect(names(path)).toEqual(await expectedNames());
  });

  test("the other one has the image, too, and there may be nothing else", async () => {
    const shared = store();
    mkdirSync(join(scratch, "empty"));
    const empty = await open(
      `containers-storage:[overlay@${scratch}/empty:imagestore=${shared}]x:1`,
    );
    await empty!.close();
    const source = `containers-storage:[overlay@${scratch}/none:imagestore=${shared}]x:1`;
    expect(names((await pullFresh(source)).path)).toEqual(await expectedNames());
  });

  test("users have their own, also as root of podman's namespace", () => {
    const [system, own] = [join(scratch, "system"), join(scratch, "home/.config/containers")];
    mkdirSync(join(system, "storage.conf.d"), { recursive: true });
    mkdirSync(own, { recursive: true });
    const write = (file: string, text: string) => writeFileSync(file, `[storage]\n${text}\n`);
    write(join(system, "storage.conf"), 'graphroot = "/system"\ndriver = "overlay"');
    const env = { HOME: join(scratch, "home") };
    const rootful = { env, uid: 0, system: [system] };
    const user = { ...rootful, uid: 1000 };
    const unshared = { ...rootful, env: { ...env, _CONTAINERS_ROOTLESS_UID: "1000" } };
    const graphRoot = (places: ConfPlaces) => storePlaces(undefined, places).graphRoot;

    const home = join(env.HOME, ".local/share/containers/storage");
    expect([rootful, user, unshared].map(graphRoot)).toEqual(["/system", home, home]);
    write(
      join(system, "storage.conf.d/50.conf"),
      'graphroot = "/added"\nrootless_storage_path = "/users/$UID/$HOME"',
    );
    const stated = `/users/1000/${env.HOME}`;
    expect([rootful, user, unshared].map(graphRoot)).toEqual(["/added", stated, stated]);
    write(join(own, "storage.conf"), 'graphroot = "/own"\nimagestore = "$HOME/images"');
    expect([rootful, user, unshared].map(graphRoot)).toEqual(["/added", "/own", "/own"]);
    expect(storePlaces(undefined, user)).toMatchObject({ others: [`${env.HOME}/images`] });
  });

  test("a configuration that makes no sense is named", async () => {
    const file = join(scratch, "storage.conf");
    const places = { ...NOWHERE, env: { CONTAINERS_STORAGE_CONF: file } };
    for (const [text, message] of [
      ["[storage]\ngraphroot = 7\n", `${file}: storage.graphroot: expected a string`],
      ["[storage]\ngraphroot = \n", `${file}, line 2, column 13`],
      ['[storage]\ngraphroot = "var"\n', 'storage.conf: "var": expected an absolute path'],
    ] as const) {
      writeFileSync(file, text);
      expect(await failure(open("containers-storage:x:1", places))).toContain(message);
    }
  });
});

describe("what only skopeo reads", () => {
  test("another driver, layers that are not kept as their files, users' own stores", async () => {
    const root = store();
    const source = `containers-storage:[${root}]x:1`;
    expect(await open(`containers-storage:[vfs@${root}]x:1`)).toBeUndefined();
    expect(await open("containers-storage:x:1", { ...NOWHERE, uid: 1000 })).toBeUndefined();
    mkdirSync(join(root, "overlay", layerId(top), "composefs-data"));
    expect(await open(source)).toBeUndefined();
    rmSync(join(root, "overlay", layerId(top), "composefs-data"), { recursive: true });
    rmSync(join(root, "overlay-layers", `${layerId(base)}.tar-split.gz`));
    expect(await open(source)).toBeUndefined();
    mkdirSync(join(scratch, "vfs/vfs-images"), { recursive: true });
    expect(await open(`containers-storage:[${scratch}/vfs]x:1`)).toBeUndefined();
  });
});

describe("locks", () => {
  const exclusive = (root: string) => {
    const fd = linux.openat(AT_FDCWD, join(root, "overlay-layers/layers.lock"), O_RDWR);
    return {
      lock: () => linux.fcntlLock(fd, F_WRLCK),
      close: () => linux.close(fd),
    };
  };

  test("an image is read when nobody changes the store any more, and nobody does meanwhile", async () => {
    const root = store();
    const other = exclusive(root);
    other.lock();
    let opened = false;
    const opening = open(`containers-storage:[${root}]x:1`).then((found) => {
      opened = true;
      return found;
    });
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(opened).toBe(false);
    other.close();
    const found = await opening;
    const again = exclusive(root);
    expect(again.lock).toThrow("temporarily unavailable");
    await found!.close();
    again.lock();
    again.close();
  });

  test("a store that was never locked is read", async () => {
    const root = store();
    rmSync(join(root, "overlay-layers/layers.lock"));
    rmSync(join(root, "overlay-images/images.lock"));
    const found = await open(`containers-storage:[${root}]x:1`);
    await found!.close();
  });
});

describe("hostile and damaged layers", () => {
  const DATA = "secret".repeat(100);

  /** The pull fails with this message, and leaves the repository as it must be. */
  async function refused(source: string, message: string | RegExp): Promise<void> {
    const path = fresh();
    expect(await failure(pullInto(path, source))).toMatch(message);
    requireIntact(path);
  }

  test("a file that is missing, longer, shorter, changed, a directory", async () => {
    const { source, diff, split } = only({ path: "etc/file", data: DATA });
    const file = join(diff, "etc/file");
    const id = split.replace(/.*\/(.*)\.tar-split\.gz/, "$1");
    rmSync(file);
    await refused(source, new RegExp(`^layer 1 \\(.*\\): .*/overlay/${id}/diff/etc/file: openat2`));
    writeFileSync(file, `${DATA}x`);
    await refused(source, "diff/etc/file: has 601 bytes; expected 600");
    writeFileSync(file, DATA.slice(1));
    await refused(source, "diff/etc/file: has 599 bytes; expected 600");
    rmSync(file);
    writeFileSync(file, DATA.replace("secret", "Secret"));
    await refused(source, /diff\/etc\/file: has the CRC-64 [0-9a-f]{16}; expected [0-9a-f]{16}/);
    rmSync(file);
    mkdirSync(file);
    await refused(source, "diff/etc/file: has ");
  });

  test("a small one that was changed, and a pipe in a file's place", async () => {
    const { source, diff } = only({ path: "file", data: "small" });
    writeFileSync(join(diff, "file"), "Small");
    await refused(source, /diff\/file: has the CRC-64/);
    rmSync(join(diff, "file"));
    execFileSync("mkfifo", [join(diff, "file")]);
    await refused(source, "diff/file: has 0 bytes; expected 5");
  });

  test("nothing outside of the layer's directory is read", async () => {
    writeFileSync(join(scratch, "outside"), DATA);
    const { source, diff, split } = only({ path: "file", data: DATA });
    rmSync(join(diff, "file"));
    // out by a link of the last name, of a directory, by an absolute one, by dots
    symlinkSync("../../../../outside", join(diff, "file"));
    await refused(source, /diff\/file: openat2 .*Too many levels/);
    const named = (name: string) => {
      const text = tarSplit(tar([{ path: "usr/" }, { path: "file", data: DATA }]));
      writeFileSync(split, zlib.gzipSync(text.replace('"file"', JSON.stringify(name))));
    };
    symlinkSync("../../../..", join(diff, "up"));
    symlinkSync(scratch, join(diff, "absolute"));
    for (const name of [
      "up/outside",
      "absolute/outside",
      "../../../../outside",
      `${scratch}/outside`,
    ]) {
      named(name);
      await refused(source, "No such file or directory");
    }
    // and what does not lead out is as it was when the archive was unpacked
    writeFileSync(join(diff, "outside"), DATA);
    named("up/outside");
    await pullFresh(source);
  });

  test("tar-split that is damaged, or does not go with the files or the diff_id", async () => {
    const { source, split } = only({ path: "file", data: DATA });
    const text = tarSplit(tar([{ path: "usr/" }, { path: "file", data: DATA }]));
    const write = (changed: string) => writeFileSync(split, zlib.gzipSync(changed));
    writeFileSync(split, zlib.gzipSync(text).subarray(0, -20));
    await refused(source, /tar-split of .*\/diff: unexpected end of file/);
    writeFileSync(split, "no gzip");
    await refused(source, /tar-split of .*\/diff: incorrect header check/);
    write(`${text.slice(0, 50)}\n`);
    await refused(source, /tar-split of .*\/diff: line 1: expected JSON/);
    write(text.split("\n").slice(0, 4).join("\n"));
    await refused(source, /the archive ends inside the padding/);
    write(text.replace('"size":600', '"size":599'));
    await refused(source, "diff/file: a file of 599 bytes where the archive has one of 600");
    write(text.split("\n").toReversed().join("\n"));
    await refused(source, /tar-split of|diff\/file/);
    const other = tar([{ path: "usr/" }, { path: "file", mode: 0o777, data: DATA }]);
    write(tarSplit(other));
    await refused(source, /has the digest sha256:.* the config states the diff_id sha256:/);
  });
});

describe("the signature policy", () => {
  const accept = [{ type: "insecureAcceptAnything" }];
  const reject = [{ type: "reject" }];
  const id = whole.config.digest.slice(7);

  function withPolicy(scopes: Record<string, object[]>): Partial<SourceOptions> {
    const system = join(scratch, "policy");
    mkdirSync(system, { recursive: true });
    writeFileSync(
      join(system, "policy.json"),
      JSON.stringify({ default: reject, transports: { "containers-storage": scopes } }),
    );
    return { places: { ...NOWHERE, system: [system] } };
  }

  test("is looked up by driver, store, name and ID", async () => {
    const root = store();
    const source = `containers-storage:[${root}]x:1`;
    const scopes = [
      `[overlay@${root}]docker.io/library/x:1@${id}`,
      `[overlay@${root}]docker.io/library/x:1`,
      `[overlay@${root}]docker.io/library/x`,
      `[overlay@${root}]docker.io/library`,
      `[overlay@${root}]docker.io`,
      `[overlay@${root}]`,
      `[${root}]`,
      "",
    ];
    for (const [i, scope] of scopes.entries()) {
      const wider = Object.fromEntries(scopes.slice(i + 1).map((one) => [one, reject]));
      await pullFresh(source, withPolicy({ ...wider, [scope]: accept }));
      const others = Object.fromEntries(scopes.slice(i + 1).map((one) => [one, accept]));
      expect(await failure(pullFresh(source, withPolicy({ ...others, [scope]: reject })))).toBe(
        `${scratch}/policy/policy.json (transport containers-storage, scope "${scope}") rejects this image`,
      );
    }
    expect(await failure(pullFresh(source, withPolicy({})))).toContain("(default) rejects");
    // an ID alone has no name
    const byId = `containers-storage:[${root}]@${id}`;
    await pullFresh(byId, withPolicy({ [`[overlay@${root}]@${id}`]: accept }));
    expect(
      await failure(
        pullFresh(byId, withPolicy({ [`[overlay@${root}]docker.io/library/x`]: accept })),
      ),
    ).toContain("rejects");
  });

  test("that wants signatures leaves the image to skopeo", async (ctx) => {
    needs(ctx, "skopeo");
    const root = store();
    const signed = [{ type: "signedBy", keyType: "GPGKeys", keyPath: "/nowhere" }];
    const source = `containers-storage:[overlay@${root}+${scratch}/run]x:1`;
    try {
      expect(await failure(pullFresh(source, withPolicy({ [`[${root}]`]: signed })))).toContain(
        "skopeo copy",
      );
    } finally {
      unmount(root);
    }
  });
});

describe("stores that tools write", () => {
  test("skopeo's", async (ctx) => {
    needsStore(ctx, "skopeo");
    const directory = join(scratch, "layout");
    writeLayout(directory, [{ image: whole, tag: "v1" }]);
    const root = join(scratch, "skopeo");
    const source = `containers-storage:[overlay@${root}+${scratch}/run]docker.io/library/x:1`;
    try {
      execute(ctx, "skopeo", ["--insecure-policy", "copy", `oci:${directory}:v1`, source]);
      await (await open(source))!.close(); // not through skopeo
      const { path } = await pullFresh(source);
      expect(names(path)).toEqual(await expectedNames());
      expect((await pullFresh(source)).manifestDigest).toBe(whole.manifest.digest);
    } finally {
      unmount(root);
    }
  });

  test("buildah's, and podman's list of it", async (ctx) => {
    needsStore(ctx, "buildah");
    const root = join(scratch, "buildah");
    const options = ["--storage-driver=overlay", `--root=${root}`, `--runroot=${scratch}/run`];
    mkdirSync(join(scratch, "tree/usr/lib"), { recursive: true });
    writeFileSync(join(scratch, "tree/usr/lib/large"), "large".repeat(5000));
    writeFileSync(join(scratch, "tree/usr/lib/small"), "small");
    symlinkSync("large", join(scratch, "tree/usr/lib/link"));
    const buildah = (...args: string[]) => execute(ctx, "buildah", [...options, ...args]).trim();
    try {
      const container = buildah("from", "--name=made", "scratch");
      buildah("add", "--quiet", container, join(scratch, "tree"), "/");
      buildah("commit", "--quiet", "--rm", container, "made:1");
      const source = `containers-storage:[overlay@${root}+${scratch}/run]localhost/made:1`;
      await (await open(source))!.close();
      const native = await pullFresh(source);
      requireIntact(native.path);
      // the same through skopeo, which compresses nothing on its way to a directory
      const directory = join(scratch, "dir");
      execute(ctx, "skopeo", ["--insecure-policy", "copy", source, `dir:${directory}`]);
      const copied = await pullFresh(`dir:${directory}`);
      expect(native.image).toBe(copied.image);
      expect(native.configDigest).toBe(copied.configDigest);
    } finally {
      unmount(root);
    }
  });
});

function needs(ctx: TestContext, program: string): void {
  if (spawnSync(program, ["--version"]).error !== undefined) ctx.skip(`needs ${program}`);
}

function needsStore(ctx: TestContext, program: string): void {
  needs(ctx, program);
  if (process.getuid!() !== 0) ctx.skip("only root can write a store of all users' files");
}

function execute(ctx: TestContext, program: string, args: string[]): string {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: "utf8" });
  if (status !== 0) ctx.skip(`${program} cannot do so here: ${stderr.trim().split("\n").at(-1)}`);
  return stdout;
}

/** Stores get mounted over themselves by those who write them. */
function unmount(root: string): void {
  spawnSync("umount", [join(root, "overlay")]);
}
