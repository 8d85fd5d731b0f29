/**
 * Golden repositories, in `test/fixtures/repositories`: one of each hash and format, as this program writes them, and what it
 * says about them. They are there so that no change of the program changes what it writes, or what it understands of
 * what it wrote before. `npm run golden` makes them anew, for the day on which that is intended.
 */
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type HashName, toHex } from "../../src/formats/digest.ts";
import { writeErofs } from "../../src/formats/erofs/index.ts";
import type { ErofsFormat } from "../../src/formats/meta-json.ts";
import { checkImages } from "../../userspace/oci/fsck.ts";
import { openImage, untagImage } from "../../userspace/oci/image.ts";
import { openLayout } from "../../userspace/oci/layout.ts";
import { listImages } from "../../userspace/oci/list.ts";
import { pull } from "../../userspace/oci/pull.ts";
import { listReferrers } from "../../userspace/oci/referrers.ts";
import { checkRepository } from "../../userspace/repository/fsck.ts";
import { collectGarbage } from "../../userspace/repository/gc.ts";
import { repositoryInfo } from "../../userspace/repository/info.ts";
import { initRepository } from "../../userspace/repository/init.ts";
import { openRepository, type Repository } from "../../userspace/repository/repository.ts";
import { scanDirectory } from "../../userspace/scan.ts";
import { member, pax } from "../formats/tar/archive.ts";
import { blob, descriptor, type Image, image, json, writeLayout } from "../oci/fixtures/images.ts";
import { streamOf } from "./fixture.ts";

const FIXTURES = fileURLToPath(new URL("../fixtures/repositories/", import.meta.url));
const PLATFORM = { os: "linux", architecture: "amd64" };
const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const MTIME = 1_700_000_000;

export interface Golden {
  readonly name: string;
  readonly hash: HashName;
  readonly format: ErofsFormat;
}

export const GOLDEN: readonly Golden[] = (["sha256", "sha512"] as const).flatMap((hash) =>
  ([1, 2] as const).map((format) => ({ name: `${hash}-format${format}`, hash, format })),
);

/** Where a golden repository is kept. */
export const goldenPath = ({ name }: Golden) => join(FIXTURES, name);
/** What is recorded about all of them. */
const RECORD = join(FIXTURES, "recorded.json");

export function recorded(golden: Golden): object {
  return JSON.parse(readFileSync(RECORD, "utf8"))[golden.name];
}

/** The compressor that has made the streams of the golden repositories: another release may choose other bytes. */
export function recordedCompressor(): string {
  return JSON.parse(readFileSync(RECORD, "utf8")).zstd;
}

type Fields = Parameters<typeof member>[0];
const put = (fields: Fields, body = "") => member({ mtime: MTIME, ...fields }, body);
const directories = (...names: string[]) =>
  names.map((name) => put({ name: `${name}/`, type: "5", mode: 0o755 }));
const file = (name: string, body: string, fields: Fields = {}) => put({ name, ...fields }, body);
const layer = (...members: Uint8Array[]) => ({
  tar: Buffer.concat([...members, Buffer.alloc(1024)]),
  compression: "none" as const, // no compressor has a say
});

const base = layer(
  ...directories("usr", "usr/bin", "boot", "sysroot", "etc"),
  file("usr/bin/program", "program ".repeat(700), { mode: 0o4755 }),
  put({ name: "usr/bin/link", type: "1", linkName: "usr/bin/program" }),
  put({ name: "usr/bin/symlink", type: "2", linkName: "program", mode: 0o777 }),
  put({ name: "usr/null", type: "3", devMajor: 1, devMinor: 3 }),
  pax({ "SCHILY.xattr.user.comment": "kept where it is asked for", mtime: "1600000000.25" }),
  file("usr/attributes", "a".repeat(200), { uid: 1000, gid: 2000 }),
  file("usr/of-64", "6".repeat(64)),
  file("usr/of-65", "6".repeat(65)),
  file("boot/vmlinuz", "kernel ".repeat(100)),
  file("etc/removed", "removed by the next layer ".repeat(5)),
);
const top = layer(
  file("etc/.wh.removed", ""),
  file("etc/hostname", "golden\n"),
  file("usr/of-65", "replaced ".repeat(20)),
);
const os = image([base, top]);
const app = image([base, layer(...directories("app"), file("app/main", "main ".repeat(1000)))]);

function signatureOf(subject: Image): Image {
  const layers = [blob("application/vnd.example.signature", Buffer.from("signed ".repeat(30)))];
  const config = json("application/vnd.oci.empty.v1+json", {});
  const document = {
    schemaVersion: 2,
    mediaType: MANIFEST,
    artifactType: "application/vnd.example.signature",
    config: descriptor(config),
    layers: layers.map(descriptor),
    subject: descriptor(subject.manifest),
  };
  return { manifest: json(MANIFEST, document), config, layers, diffIds: [] };
}

/**
 * Makes a golden repository at `path`: two images that share a layer, one of them to boot and with two names; a signature
 * without a name; a filesystem that is no container image's; and some garbage.
 */
export async function makeGolden(path: string, { hash, format }: Golden): Promise<void> {
  initRepository(path, { hash, format, insecure: true });
  const scratch = mkdtempSync(join(tmpdir(), "golden-"));
  try {
    using repository = openRepository(path);
    const add = async (source: Image, name: string, bootable: boolean) => {
      const directory = join(scratch, source.manifest.digest);
      writeLayout(directory, [{ image: source }]);
      const reference = { transport: "oci", source: directory, directory, tag: undefined } as const;
      const transport = await openLayout(reference);
      await pull(repository, transport, { name, platform: PLATFORM, bootable });
      await transport.close();
    };
    await add(os, "registry.example/os:1", true);
    await add(os, "os", true);
    await add(app, "app", false);
    await add(signatureOf(os), "signature", false);
    untagImage(repository, "signature"); // the subject keeps it
    addTree(repository, scratch, format);
    collectGarbage(repository); // what writing streams again has left
    repository.storeObject(Buffer.from("an object that nothing needs ".repeat(10)));
    const lost = repository.storeObject(Buffer.from("of a stream that nothing needs ".repeat(10)));
    repository.writeStream("oci-layer-lost", streamOf(hash, [lost.digest]), { existing: "keep" });
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

/** A directory as a filesystem image with a name of its own. */
function addTree(repository: Repository, scratch: string, format: ErofsFormat): void {
  const directory = join(scratch, "tree");
  mkdirSync(directory, { mode: 0o755 });
  writeFileSync(join(directory, "file"), "of a directory ".repeat(100), { mode: 0o644 });
  const { linux } = repository.files.platform;
  const tree = scanDirectory(linux, directory, {
    take: (fd) => repository.storeFile(fd),
    hardlinks: true,
    xattrs: "none",
    devices: true,
    epoch: true,
  });
  // whoever runs this, with whatever umask
  for (const node of [tree, ...tree.entries.values()]) {
    Object.assign(node.stat, { uid: 0, gid: 0, mode: node === tree ? 0o755 : 0o644 });
  }
  repository.writeImage(writeErofs(tree, { format }), "trees/one");
}

function unreadable(error: unknown): never {
  throw error;
}

/** What the program says about a repository. */
export function describeRepository(repository: Repository): object {
  const { findings, ...counts } = checkRepository(repository);
  const images = checkImages(repository);
  const info = repositoryInfo(repository);
  const { all, garbage } = info;
  return {
    fsck: { ...counts, findings: findings.length },
    imagesFsck: { ...images, findings: images.findings.length },
    info: {
      hash: info.hash,
      formats: info.formats,
      secure: info.secure,
      streams: info.streams,
      images: info.images,
      // what files take on the disk is the file system's affair
      objects: [all.objects, all.apparent],
      garbage: garbage && [garbage.objects, garbage.apparent],
      roots: info.roots.map(({ kind, entry, refs, all, own }) => ({
        kind,
        entry,
        refs,
        objects: [all.objects, all.apparent],
        own: [own.objects, own.apparent],
      })),
    },
    images: listImages(repository, unreadable).map((listed) => {
      const { images, layers } = openImage(repository, listed.name);
      const filesystems = [...images].map(([name, digest]) => [name, toHex(digest)]);
      return {
        ...listed,
        layers: layers.map(({ digest, stream }) => [digest, toHex(stream)]),
        filesystems: Object.fromEntries(filesystems),
        referrers: listReferrers(repository, listed.manifestDigest),
      };
    }),
    trees: repository.listRefs("images"),
    gc: collectGarbage(repository, { dryRun: true }),
  };
}

/** Every file with its content in base64, every link with its target. */
export function contentsOf(path: string): Record<string, string> {
  const entries = readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => {
      const name = join(entry.parentPath, entry.name);
      const content = entry.isSymbolicLink()
        ? `-> ${readlinkSync(name)}`
        : readFileSync(name, "base64");
      return [name.slice(path.length + 1), content] as const;
    });
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
}

if (import.meta.main) {
  rmSync(FIXTURES, { recursive: true, force: true });
  mkdirSync(FIXTURES);
  const record: Record<string, unknown> = { zstd: process.versions.zstd };
  for (const golden of GOLDEN) {
    const path = goldenPath(golden);
    await makeGolden(path, golden);
    using repository = openRepository(path);
    record[golden.name] = describeRepository(repository);
  }
  writeFileSync(RECORD, `${JSON.stringify(record, null, 2)}\n`);
  process.stdout.write(`${FIXTURES}: ${GOLDEN.map(({ name }) => name).join(", ")}\n`);
}
