/** cfsctl and ours on the same repositories. What is recorded of cfsctl is compared with the one that is here, too. */
import { spawn, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { HashName } from "../../src/formats/digest.ts";
import { type Image, writeLayout } from "../oci/fixtures/images.ts";
import { PLATFORM } from "../oci/fixtures/pulling.ts";
import { digestOf } from "../oci/fixtures/registry-server.ts";
import { attempt, CFSBOOT, CFSCTL, cfsboot, cfsctl, needsCfsctl } from "./cfsctl.ts";
import { ARTIFACT, IMAGES, inPieces, SIBLINGS, SIMILAR } from "./images.ts";
import { digestTable, HASHES, REPOSITORY, record, recorded, streamTable } from "./recorded.ts";
import { linksOf, objectsOf } from "./repositories.ts";

const RECORD = process.env.CFSBOOT_RECORD !== undefined;
const TIMEOUT = 180_000;

let scratch: string;
beforeEach((ctx) => {
  needsCfsctl(ctx);
  scratch = fs.mkdtempSync(join(tmpdir(), "cfsctl-"));
});
afterEach(() => {
  if (scratch !== undefined) fs.rmSync(scratch, { recursive: true, force: true });
});

function init(name: string, by: "cfsctl" | "cfsboot", hash: HashName = "sha256", format = 1) {
  const path = join(scratch, name);
  if (by === "cfsboot") {
    const options = ["--hash", hash, "--erofs-format", `${format}`, "--insecure"];
    cfsboot(path, "repo", "init", ...options);
  } else {
    const options = [`--algorithm=fsverity-${hash}-12`, `--erofs-version=${format}`, "--insecure"];
    cfsctl(path, "init", ...options);
  }
  return path;
}

/** A reference to an image, which is then in a layout. */
function layout(image: Image): string {
  const path = join(scratch, image.manifest.digest.slice(7, 20));
  if (!fs.existsSync(path)) {
    fs.mkdirSync(path);
    // cfsctl takes nothing from a layout that has no platform, be it an artifact
    writeLayout(path, [{ image, platform: PLATFORM }]);
  }
  return `oci:${path}`;
}

function pull(
  repository: string,
  by: "cfsctl" | "cfsboot",
  name: string,
  image: Image,
  bootable = false,
): string {
  const args = ["pull", layout(image), name, ...(bootable ? ["--bootable"] : [])];
  return by === "cfsboot"
    ? cfsboot(repository, "image", ...args)
    : cfsctl(repository, "oci", ...args);
}

/** Neither program finds anything wrong. */
function requireIntact(repository: string): void {
  expect(cfsctl(repository, "fsck")).toMatch(/^status: ok$/m);
  expect(cfsctl(repository, "oci", "fsck")).toMatch(/^oci images: (\d+)\/\1 ok$/m);
  expect(cfsboot(repository, "repo", "fsck")).toMatch(/^status: ok$/m);
}

test(
  "what was recorded is what cfsctl does",
  () => {
    const lines = { digests: [] as string[], streams: [] as string[] };
    const before = { digests: [] as string[], streams: [] as string[] };
    for (const hash of HASHES) {
      const repository = init(hash, "cfsctl", hash);
      for (const [name, { image }] of Object.entries(IMAGES)) {
        pull(repository, "cfsctl", "x", image);
        const digests = digestTable(name, hash, ({ format, bootable, xattrs }) => {
          const options = [...(bootable ? ["--bootable"] : []), "--xattrs", xattrs];
          const version = `--erofs-version=${format}`;
          return cfsctl(repository, version, "oci", "compute-id", "x", ...options).trim();
        });
        const streams = streamTable(name, hash, (diffId) =>
          fs.readFileSync(join(repository, "streams", `oci-layer-${diffId}`)),
        );
        lines.digests.push(...digests);
        lines.streams.push(...streams);
        before.digests.push(...recorded("digests", name, hash));
        before.streams.push(...recorded("streams", name, hash));
      }
    }
    if (RECORD) {
      record("digests", lines.digests);
      record("streams", lines.streams);
      recordRepository();
    } else {
      expect(lines).toEqual(before);
    }
  },
  TIMEOUT,
);

function recordRepository(): void {
  const repository = init("recorded", "cfsctl");
  for (const image of SIBLINGS) pull(repository, "cfsctl", "merged", image, true);
  pull(repository, "cfsctl", "artifact", ARTIFACT);
  spawnSync("tar", ["-C", repository, "--sort=name", "-czf", REPOSITORY, "."]);
}

test.each([
  ["sha256", 1],
  ["sha256", 2],
  ["sha512", 1],
] as const)(
  "%s, format %i: the same repository by either, and each reads the other's",
  (hash, format) => {
    const theirs = init("theirs", "cfsctl", hash, format);
    const ours = init("ours", "cfsboot", hash, format);
    expect(fs.readFileSync(join(ours, "meta.json"))).toEqual(
      fs.readFileSync(join(theirs, "meta.json")),
    );
    const images: Record<string, Image> = { gzip: inPieces("gzip"), zstd: inPieces("zstd") };
    for (const [name, { image, bootable }] of Object.entries(IMAGES)) {
      images[`localhost/${name}%2F:1`] = image;
      const lines = (["cfsctl", "cfsboot"] as const).map((by) => {
        const repository = by === "cfsctl" ? theirs : ours;
        return pull(repository, by, `localhost/${name}%2F:1`, image, bootable).split("\n");
      });
      const facts = lines.map((all) =>
        all.filter((line) => /^(manifest|config|tagged|Boot image:) /.test(line)),
      );
      expect(facts[0]!.length).toBe(bootable ? 4 : 3);
      expect(facts[1]).toEqual(facts[0]);
    }
    for (const name of ["gzip", "zstd"]) {
      pull(theirs, "cfsctl", name, images[name]!);
      pull(ours, "cfsboot", name, images[name]!);
    }
    requireIntact(theirs);
    requireIntact(ours);
    cfsctl(theirs, "gc");
    cfsboot(ours, "repo", "gc");
    expect(linksOf(ours)).toEqual(linksOf(theirs));
    expect(objectsOf(ours)).toEqual(objectsOf(theirs));

    for (const repository of [theirs, ours]) {
      const list = JSON.parse(cfsctl(repository, "oci", "images", "--json")).images;
      expect(list.length).toBe(Object.keys(images).length);
      const listed = JSON.parse(cfsboot(repository, "image", "list", "--json"));
      const byName = (a: { name: string }, b: { name: string }) => (a.name < b.name ? -1 : 1);
      expect({ images: listed.images.sort(byName) }).toEqual({ images: list.sort(byName) });
    }
    for (const [name, image] of Object.entries(images)) {
      for (const by of [theirs, ours]) {
        const inspected = cfsctl(by, "oci", "inspect", name);
        expect(JSON.parse(inspected).manifest).toBe(image.manifest.bytes.toString());
        expect(JSON.parse(cfsboot(by, "image", "inspect", name))).toEqual(JSON.parse(inspected));
      }
    }
    const merged = "localhost/merged layers%2F:1";
    const dump = cfsctl(theirs, "oci", "dump", "--bootable", merged);
    expect(cfsctl(ours, "oci", "dump", "--bootable", merged)).toBe(dump);
    expect(cfsboot(ours, "image", "dump", "--bootable", merged)).toBe(dump);
    expect(cfsboot(theirs, "image", "dump", "--bootable", merged)).toBe(dump);
    for (const { diffIds } of Object.values(images)) {
      for (const diffId of diffIds) {
        const layer = Buffer.from(cfsctl(ours, "cat", `oci-layer-${diffId}`), "latin1");
        expect(digestOf(layer)).toBe(diffId);
      }
    }
  },
  TIMEOUT,
);

/** The images of two that share layers, by turns, and what is collected between. */
describe("by turns in one repository", () => {
  const merged = IMAGES["merged layers"]!.image;
  const plain = IMAGES["every kind of file"]!.image;
  const links = (repository: string) =>
    Object.fromEntries(
      fs
        .readdirSync(join(repository, "streams"))
        .filter((name) => name.startsWith("oci-layer-"))
        .map((name) => [name, fs.readlinkSync(join(repository, "streams", name))]),
    );
  const OTHER = { cfsctl: "cfsboot", cfsboot: "cfsctl" } as const;
  const gc = { cfsctl: ["gc"], cfsboot: ["repo", "gc"] } as const;
  const program = { cfsctl, cfsboot };
  const untag = { cfsctl: ["oci", "untag"], cfsboot: ["image", "untag"] } as const;

  test.each(["cfsctl", "cfsboot"] as const)(
    "%s begins: layers stay as they were stored, nothing that is named is collected",
    (first) => {
      const second = OTHER[first];
      const repository = init("repo", first);
      pull(repository, first, "one", merged, true);
      const stored = links(repository);
      pull(repository, second, "two", inPieces("gzip"));
      pull(repository, second, "plain", plain, true);
      pull(repository, second, "one", merged, true);
      expect(links(repository)).toMatchObject(stored);
      requireIntact(repository);

      const digests = () =>
        ["one", "two"].map((name) => cfsctl(repository, "oci", "compute-id", "--bootable", name));
      const before = digests();
      program[second](repository, ...gc[second]);
      program[first](repository, ...gc[first]);
      requireIntact(repository);
      expect(digests()).toEqual(before);
      expect(links(repository)).toMatchObject(stored);

      program[second](repository, ...untag[second], "plain");
      program[first](repository, ...gc[first]);
      requireIntact(repository);
      expect(digests()).toEqual(before);
      expect(objectsOf(repository).length).toBeLessThan(20);
      program[first](repository, ...untag[first], "one");
      program[first](repository, ...untag[first], "two");
      program[second](repository, ...gc[second]);
      requireIntact(repository);
      expect(objectsOf(repository)).toEqual([]);
      expect(linksOf(repository)).toEqual([]);
    },
    TIMEOUT,
  );

  test.each(["cfsctl", "cfsboot"] as const)(
    "a config of two images, which %s gives a bootable image by way of one: the other keeps it",
    (writer) => {
      const [a, b] = SIBLINGS as [Image, Image];
      const repository = init("repo", "cfsctl");
      pull(repository, "cfsctl", "a", a);
      pull(repository, "cfsctl", "b", b);
      pull(repository, writer, "b", b, true);
      pull(repository, writer, "a", a);
      cfsboot(repository, "repo", "gc");
      requireIntact(repository);
      cfsboot(repository, "image", "untag", "a");
      cfsboot(repository, "repo", "gc");
      requireIntact(repository);
      const inspected = JSON.parse(cfsctl(repository, "oci", "inspect", "b"));
      const compute = (...args: string[]) => cfsboot(repository, "image", "digest", "b", ...args);
      for (const [digest, expected] of [
        [inspected.composefs_erofs, compute()],
        [inspected.composefs_boot_erofs, compute("--bootable")],
      ]) {
        expect(`${digest}\n`).toBe(expected);
        expect(fs.existsSync(join(repository, "images", digest))).toBe(true);
      }
      // our own collection has made it safe for the other's
      cfsctl(repository, "gc");
      requireIntact(repository);
      expect(cfsctl(repository, "oci", "dump", "b")).toBe(
        cfsboot(repository, "image", "dump", "b"),
      );
    },
    TIMEOUT,
  );

  test.each(["cfsctl", "cfsboot"] as const)("an artifact that %s pulled", (writer) => {
    const repository = init("repo", writer);
    pull(repository, writer, "container", IMAGES["not bootable"]!.image);
    pull(repository, writer, "artifact", ARTIFACT);
    requireIntact(repository);
    for (const name of ["container", "artifact"]) {
      const inspected = JSON.parse(cfsctl(repository, "oci", "inspect", name));
      expect(JSON.parse(cfsboot(repository, "image", "inspect", name))).toEqual(inspected);
    }
    const stored = links(repository);
    expect(Object.keys(stored)).toHaveLength(3);
    pull(repository, OTHER[writer], "artifact", ARTIFACT);
    pull(repository, OTHER[writer], "container", IMAGES["not bootable"]!.image);
    expect(links(repository)).toEqual(stored);
    requireIntact(repository);
    for (const { digest } of ARTIFACT.layers) {
      const bytes = Buffer.from(cfsctl(repository, "cat", `oci-layer-${digest}`), "latin1");
      expect(digestOf(bytes)).toBe(digest);
    }
    program[writer](repository, ...gc[writer]);
    requireIntact(repository);
  });

  test("artifacts that share their config, which cfsctl could not pull itself", () => {
    const repository = init("repo", "cfsboot");
    for (const [i, artifact] of SIMILAR.entries()) pull(repository, "cfsboot", `${i}`, artifact);
    cfsctl(repository, "gc");
    requireIntact(repository);
    expect(Object.keys(links(repository))).toHaveLength(4);
  });

  test("images that cfsctl named are kept", () => {
    const repository = init("repo", "cfsctl");
    const root = join(scratch, "root");
    fs.mkdirSync(join(root, "usr"), { recursive: true });
    fs.writeFileSync(join(root, "usr/file"), "content ".repeat(100));
    const digest = cfsctl(repository, "create-image", root, "dir/name").trim().split(":")[1];
    cfsboot(repository, "repo", "gc");
    requireIntact(repository);
    expect(linksOf(repository).map((line) => line.split(" ")[0])).toEqual([
      `images/${digest}`,
      "images/refs/dir/name",
    ]);
    fs.rmSync(join(repository, "images/refs/dir/name"));
    cfsboot(repository, "repo", "gc");
    expect(linksOf(repository)).toEqual([]);
    expect(objectsOf(repository)).toEqual([]);
  });
});

test("what cfsctl stored, copied to a layout and from there to a third repository, is the same image", () => {
  const theirs = init("theirs", "cfsctl");
  const back = init("back", "cfsctl");
  for (const name of ["merged layers", "every kind of file"]) {
    const { image } = IMAGES[name]!;
    pull(theirs, "cfsctl", "x", image);
    const out = `oci:${join(scratch, `out of ${name}`)}`;
    cfsboot(theirs, "image", "copy", "x", out);
    cfsctl(back, "oci", "pull", out, "y");
    const compute = ["oci", "compute-id", `@${image.config.digest}`];
    expect(cfsctl(back, ...compute)).toBe(cfsctl(theirs, ...compute));
    expect(cfsboot(back, "image", "digest", `@${image.config.digest}`)).toBe(
      cfsctl(theirs, ...compute),
    );
  }
  requireIntact(back);
});

test("either mounts what the other stored, and sees the same files", (ctx) => {
  if (process.getuid?.() !== 0) ctx.skip("only root can mount");
  const target = join(scratch, "target");
  fs.mkdirSync(target);
  const name = "every kind of file";
  const list = `cd ${target} && find . -printf '%p %M %U %G %s %T@ %n %l\\n' | sort && find . -type f | sort | xargs -d '\\n' sha256sum`;
  const seen = (["cfsctl", "cfsboot"] as const).flatMap((by) => {
    const repository = init(by, by);
    pull(repository, by, "x", IMAGES[name]!.image, true);
    const commands = [
      [CFSCTL!, "--repo", repository, "oci", "mount", "--bootable", "x", target],
      [process.execPath, CFSBOOT, "mount", "--repo", repository, "--bootable", "x", target],
    ];
    return commands.map((command) => {
      const script = `"$@" && ${list}`;
      const { stdout, stderr } = spawnSync("unshare", ["-m", "sh", "-c", script, "sh", ...command]);
      return `${stdout}${stderr}`;
    });
  });
  if (/ENOSYS|ENODEV|not permitted|EPERM/.test(seen[1]!)) ctx.skip(`no mounts here: ${seen[1]}`);
  expect(seen[0]).toMatch(/^[0-9a-f]{64} {2}\.\/usr\/of-4097$/m);
  for (const one of seen) expect(one).toBe(seen[0]);
});

test("damage: both say the same about it, and ours mends what can be fetched again", () => {
  const repository = init("repo", "cfsctl");
  const { image } = IMAGES["merged layers"]!;
  const source = layout(image); // a name from which it can be fetched again
  pull(repository, "cfsctl", source, image, true);
  const object = objectsOf(repository)[0]!;
  const path = join(repository, "objects", object);
  const bytes = fs.readFileSync(path);
  bytes[0]! ^= 1;
  fs.writeFileSync(path, bytes);
  fs.symlinkSync("../objects/00/nothing", join(repository, "images", "0".repeat(64)));
  fs.writeFileSync(join(repository, "streams", "file"), "");
  const kinds = (errors: string[]) => errors.map((error) => error.match(/fsck: ([a-z-]+):/)?.[1]);
  const said = JSON.parse(cfsctl(repository, "fsck", "--json"));
  const ours = JSON.parse(attempt.cfsboot(repository, "repo", "fsck", "--json").stdout);
  expect(said.ok).toBe(false);
  const { errors, ...counts } = said;
  expect(ours).toMatchObject(counts);
  expect(kinds(ours.errors).sort()).toEqual(kinds(errors).sort());
  expect(kinds(errors)).toHaveLength(3);

  fs.rmSync(join(repository, "images", "0".repeat(64)));
  fs.rmSync(join(repository, "streams", "file"));
  cfsboot(repository, "repo", "fsck", "--repair");
  requireIntact(repository);
});

test.each(HASHES)("%s: what cfsctl wrote, without its meta.json, is understood", (hash) => {
  const repository = init("repo", "cfsctl", hash, 2);
  const { image } = IMAGES["merged layers"]!;
  pull(repository, "cfsctl", "x", image, true);
  const metadata = fs.readFileSync(join(repository, "meta.json"), "utf8");
  fs.rmSync(join(repository, "meta.json"));
  cfsboot(repository, "image", "tag", "x", "y");
  expect(fs.readFileSync(join(repository, "meta.json"), "utf8")).toBe(metadata);
  requireIntact(repository);
});

test(
  "at once: both pull into one repository, and both collect",
  async () => {
    const repository = init("repo", "cfsctl");
    const images = Object.entries(IMAGES).filter(([name]) => name !== "large");
    const start = (command: string, ...args: string[]) =>
      new Promise<string>((resolve) => {
        const child = spawn(command, args, { env: { ...process.env, RUST_BACKTRACE: "0" } });
        let output = "";
        child.stdout.on("data", (chunk) => {
          output += chunk;
        });
        child.stderr.on("data", (chunk) => {
          output += chunk;
        });
        child.on("close", (status) => resolve(status === 0 ? "done" : output));
      });
    const ours = (...args: string[]) =>
      start(process.execPath, CFSBOOT, ...args, "--repo", repository);
    const theirs = (...args: string[]) => start(CFSCTL!, "--repo", repository, ...args);
    const outcomes = await Promise.all(
      images.flatMap(([name, { image }]) => {
        const source = layout(image);
        return [
          ours("image", "pull", source, `ours ${name}`),
          theirs("oci", "pull", source, `theirs ${name}`),
          ours("repo", "gc"),
          theirs("gc"),
        ];
      }),
    );
    expect(outcomes).toEqual(outcomes.map(() => "done"));
    requireIntact(repository);
    cfsboot(repository, "repo", "gc");
    requireIntact(repository);
    for (const [name] of images) {
      const [digest, other] = ["ours", "theirs"].map((by) =>
        cfsctl(repository, "oci", "compute-id", `${by} ${name}`),
      );
      expect(digest).toBe(other);
    }
  },
  TIMEOUT,
);

test("a collection waits for cfsctl's transaction", async () => {
  const repository = init("repo", "cfsctl");
  pull(repository, "cfsctl", "x", IMAGES["not bootable"]!.image);
  const transaction = spawn(CFSCTL!, ["--repo", repository, "transaction"], { stdio: "ignore" });
  const isLocked = () => spawnSync("flock", ["-n", "-x", repository, "true"]).status !== 0;
  try {
    await expect.poll(isLocked, { timeout: 10_000 }).toBe(true);
    const command = [CFSBOOT, "repo", "gc", "--repo", repository];
    const gc = spawnSync(process.execPath, command, { timeout: 2_000 });
    expect(gc.error).toMatchObject({ code: "ETIMEDOUT" });
  } finally {
    transaction.kill();
  }
  cfsboot(repository, "repo", "gc");
  requireIntact(repository);
});
