/** Checking a repository: each kind of damage is found, and named. */
import { mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { toHex } from "../../src/formats/digest.ts";
import type { Linux } from "../../src/linux/linux.ts";
import { LinuxError } from "../../src/linux/linux.ts";
import { describeError } from "../../userspace/cli/errors.ts";
import type { Finding } from "../../userspace/repository/finding.ts";
import { checkRepository, type FsckReport } from "../../userspace/repository/fsck.ts";
import { objectFile } from "../../userspace/repository/layout.ts";
import { openRepository } from "../../userspace/repository/repository.ts";
import {
  bytes,
  documentOf,
  type Fixture,
  imageOf,
  newRepository,
  platformOf,
  streamOf,
} from "./fixture.ts";

interface Stored {
  readonly file: Uint8Array;
  readonly layer: Uint8Array;
  readonly config: Uint8Array;
  readonly image: Uint8Array;
}

/** A file, a layer that has it, an image that has it, a config that names both. */
function store(fixture: Fixture): Stored {
  using repository = fixture.open();
  const file = repository.storeObject(bytes("f".repeat(5000))).digest;
  const layer = repository.writeStream("layer", streamOf("sha256", [file], "header"), {
    existing: "keep",
  });
  const image = repository.writeImage(imageOf([file]), "some/name");
  const json = repository.storeObject(bytes("{}".padEnd(100))).digest;
  const config = repository.writeStream(
    "config",
    documentOf("sha256", json, { diff: layer, "composefs.image": image }),
    { existing: "replace", ref: "oci/tag" },
  );
  return { file, layer, config, image };
}

function check(
  fixture: Fixture,
  options: Parameters<typeof checkRepository>[1] = {},
  linux: Linux = fixture.platform.linux,
): FsckReport {
  using repository = openRepository(fixture.path, { platform: platformOf(linux) });
  return checkRepository(repository, options);
}

const textOf = ({ kind, where, what, cause }: Finding) =>
  `${kind}: ${where}: ${what ?? describeError(cause).message}`;

/** What is found after some damage: `kind: where: what`, sorted. */
function found(
  kind: "secure" | "insecure",
  damage: (path: (name: string) => string, stored: Stored, fixture: Fixture) => void,
  options: Parameters<typeof checkRepository>[1] = {},
): string[] {
  using fixture = newRepository(kind);
  const stored = store(fixture);
  damage((name) => join(fixture.path, name), stored, fixture);
  return check(fixture, options).findings.map(textOf).sort();
}

function flip(path: string, offset: number): void {
  const data = readFileSync(path);
  data[offset]! ^= 1;
  writeFileSync(path, data);
}

/** Another content under the name of an object. */
function replace(path: string, content: Uint8Array): void {
  rmSync(path);
  writeFileSync(path, content);
}

describe.each(["secure", "insecure"] as const)("%s", (kind) => {
  test("a sound repository (bootc#2497)", () => {
    using fixture = newRepository(kind);
    store(fixture);
    const report = {
      metadata: "ok",
      objects: { checked: 5, corrupted: 0 },
      streams: { checked: 2, corrupted: 0 },
      images: { checked: 1, corrupted: 0 },
      brokenLinks: 0,
      missingObjects: 0,
      findings: [],
    };
    expect(check(fixture)).toEqual(report);
    expect(check(fixture, { readData: true })).toEqual(report);
    expect(check(fixture, { objects: "none" })).toEqual({
      ...report,
      objects: { checked: 0, corrupted: 0 },
    });
  });

  test("an empty repository", () => {
    using fixture = newRepository(kind);
    expect(check(fixture).findings).toEqual([]);
  });

  test("object-invalid-name", () => {
    const texts = found(kind, (path) => {
      mkdirSync(path("objects/00"));
      for (const name of ["x", "F".repeat(62), "0".repeat(126)])
        writeFileSync(path(`objects/00/${name}`), "");
      mkdirSync(path(`objects/00/${"0".repeat(62)}`));
    });
    expect(texts.map((text) => text.slice(0, 36))).toEqual([
      "object-invalid-name: objects/00/0000",
      "object-invalid-name: objects/00/0000",
      "object-invalid-name: objects/00/FFFF",
      "object-invalid-name: objects/00/x: n",
    ]);
  });

  test("missing objects, by all that need them", () => {
    using fixture = newRepository(kind);
    const { file } = store(fixture);
    rmSync(join(fixture.path, objectFile(file)));
    const { findings, ...counts } = check(fixture);
    const hex = toHex(file);
    expect(findings.map(textOf)).toEqual([
      `missing-object-ref: streams/layer: object ${hex} is missing`,
      expect.stringMatching(`^image-missing-object: images/.*: object ${hex} is missing$`),
    ]);
    expect(findings.map(({ object }) => toHex(object!))).toEqual([hex, hex]);
    expect(counts).toEqual({
      metadata: "ok",
      objects: { checked: 4, corrupted: 0 },
      streams: { checked: 2, corrupted: 1 },
      images: { checked: 1, corrupted: 1 },
      brokenLinks: 0,
      missingObjects: 2,
    });
  });

  test("missing-named-ref and broken-symlink, when a stream is missing", () => {
    using fixture = newRepository(kind);
    const { layer } = store(fixture);
    rmSync(join(fixture.path, objectFile(layer)));
    const { findings, brokenLinks } = check(fixture);
    expect(findings.map(textOf).sort()).toEqual([
      `broken-symlink: streams/layer: there is no ../${objectFile(layer)}`,
      `missing-named-ref: streams/config: diff: object ${toHex(layer)} is missing`,
    ]);
    expect(brokenLinks).toBe(1);
  });

  test("broken-symlink, when a reference leads to nothing", () => {
    const texts = found(kind, (path) => {
      rmSync(path("streams/config"));
      rmSync(path(`images/refs/some/name`));
      symlinkSync("../../gone", path("images/refs/some/name"));
    });
    expect(texts).toEqual([
      "broken-symlink: images/refs/some/name: there is no ../../gone",
      "broken-symlink: streams/refs/oci/tag: there is no ../../config",
    ]);
  });

  test("entry-not-symlink, unexpected-file-type and stat-failed", () => {
    const texts = found(kind, (path) => {
      mkdirSync(path("streams/directory"));
      writeFileSync(path("images/file"), "");
      writeFileSync(path("streams/refs/oci/file"), "");
      symlinkSync("loop", path("streams/refs/loop"));
    });
    expect(texts).toEqual([
      "entry-not-symlink: images/file: expected a symbolic link",
      "entry-not-symlink: streams/directory: expected a symbolic link",
      "stat-failed: streams/refs/loop: statx streams/refs/loop: Too many levels of symbolic links",
      "unexpected-file-type: streams/refs/oci/file: expected a symbolic link",
    ]);
  });

  test("stream-open-failed, when a link leads to what is no object", () => {
    const texts = found(kind, (path) => {
      symlinkSync("../meta.json", path("streams/foreign"));
    });
    expect(texts).toEqual([
      "stream-open-failed: streams/foreign: it leads to ../meta.json, which is no object",
    ]);
  });

  test("stream-read-failed and image-invalid, when objects are sound and no streams and images", () => {
    const texts = found(kind, (path, _, fixture) => {
      using repository = fixture.open();
      const { digest } = repository.storeObject(bytes("neither".padEnd(200)));
      repository.writeStream("no-stream", bytes("neither".padEnd(200)), { existing: "keep" });
      symlinkSync(`../${objectFile(digest)}`, path(`images/${toHex(digest)}`));
    });
    expect(texts.map((text) => text.replace(/[0-9a-f]{64}/, "HEX"))).toEqual([
      "image-invalid: images/HEX: offset 0: not an image of composefs",
      'stream-read-failed: streams/no-stream: not a splitstream: no "SplitStream" at offset 0',
    ]);
  });

  test("image-open-failed, when the name of an image is not its digest", () => {
    const texts = found(kind, (path, { image, layer }) => {
      renameSync(path(`images/${toHex(image)}`), path(`images/${toHex(layer)}`));
    });
    expect(texts).toEqual([
      expect.stringMatching(/^broken-symlink: images\/refs\/some\/name/),
      expect.stringMatching(
        /^image-open-failed: images\/[0-9a-f]{64}: it leads to another object, [0-9a-f]{64}$/,
      ),
    ]);
  });

  test("metadata-parse-failed and metadata-algorithm-mismatch, when meta.json changes", () => {
    using fixture = newRepository(kind);
    store(fixture);
    using repository = fixture.open();
    const path = join(fixture.path, "meta.json");
    const text = readFileSync(path, "utf8");
    const metadataOf = (content: string) => {
      replace(path, bytes(content));
      const { metadata, findings } = checkRepository(repository);
      expect(metadata).toBe("error");
      return findings.map(textOf);
    };
    expect(metadataOf("{")).toEqual([expect.stringMatching(/^metadata-parse-failed: meta.json: /)]);
    expect(metadataOf(text.replace("sha256", "sha512"))).toEqual([
      "metadata-algorithm-mismatch: meta.json: it says sha512, the repository was opened with sha256",
    ]);
    rmSync(path);
    expect(checkRepository(repository).metadata).toBeUndefined();
  });

  test("errors of the disk are findings, and the rest is checked", () => {
    using fixture = newRepository(kind);
    const { file, layer } = store(fixture);
    const failing = (call: "openat" | "read", wanted: Uint8Array): Linux => {
      const { linux } = fixture.platform;
      const fds = new Set<number>();
      const fail = () => {
        throw new LinuxError(5, "EIO", "Input/output error", call, "x");
      };
      return {
        ...linux,
        openat(dirfd, path, flags, mode) {
          const ours = String(path).endsWith(objectFile(wanted).slice("objects/".length));
          if (ours && call === "openat") fail();
          const fd = linux.openat(dirfd, path, flags, mode);
          fds.delete(fd);
          if (ours) fds.add(fd);
          return fd;
        },
        read: (fd, ...rest) => (fds.has(fd) && call === "read" ? fail() : linux.read(fd, ...rest))!,
      };
    };
    expect(check(fixture, {}, failing("openat", file)).findings.map(textOf)).toEqual([
      `object-open-failed: ${objectFile(file)}: openat x: Input/output error`,
    ]);
    // where the kernel has the digest, only who wants to reads the data
    const unread = check(fixture, {}, failing("read", file)).findings;
    const read = check(fixture, { readData: true }, failing("read", file)).findings;
    const failed = `object-verity-failed: ${objectFile(file)}: read x: Input/output error`;
    expect(unread.map(textOf)).toEqual(kind === "secure" ? [] : [failed]);
    expect(read.map(textOf)).toEqual([failed]);
    expect(
      check(fixture, { readData: true }, failing("read", layer)).findings.map(({ kind }) => kind),
    ).toEqual(["object-verity-failed", "stream-read-failed"]);
  });
});

describe("content of objects", () => {
  test("insecure: object-digest-mismatch, also of streams and images", () => {
    const texts = found("insecure", (path, { file, layer, image }) => {
      flip(path(objectFile(file)), 4999);
      flip(path(objectFile(layer)), 35);
      flip(path(objectFile(image)), 1100);
    });
    expect(texts.map((text) => text.replaceAll(/[0-9a-f]{2}\/?[0-9a-f]{62}/g, "HEX"))).toEqual([
      "image-open-failed: images/HEX: object HEX is damaged: its fs-verity digest is HEX",
      "object-digest-mismatch: objects/HEX: its fs-verity digest is HEX",
      "object-digest-mismatch: objects/HEX: its fs-verity digest is HEX",
      "object-digest-mismatch: objects/HEX: its fs-verity digest is HEX",
      "stream-open-failed: streams/layer: object HEX is damaged: its fs-verity digest is HEX",
    ]);
  });

  test("insecure: files of any size are hashed whole, a truncated one is found", () => {
    using fixture = newRepository("insecure");
    using repository = fixture.open();
    for (const size of [65, 4096, 4097, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3_000_000]) {
      const { digest } = repository.storeObject(new Uint8Array(size).fill(7));
      expect(checkRepository(repository).findings, `${size}`).toEqual([]);
      writeFileSync(join(fixture.path, objectFile(digest)), new Uint8Array(size - 1).fill(7));
      expect(checkRepository(repository).findings.map(({ kind }) => kind)).toEqual([
        "object-digest-mismatch",
      ]);
      rmSync(join(fixture.path, objectFile(digest)));
    }
  });

  test("secure: object-verity-missing and object-digest-mismatch", () => {
    const texts = found("secure", (path, { file, layer }, fixture) => {
      fixture.verity.strip(-100, path(objectFile(file)));
      using repository = fixture.open();
      const other = repository.storeObject(bytes("other".repeat(50))).digest;
      rmSync(path(objectFile(layer)));
      mkdirSync(dirname(path(objectFile(layer))), { recursive: true });
      renameSync(path(objectFile(other)), path(objectFile(layer)));
    });
    expect(texts.map((text) => text.replaceAll(/[0-9a-f]{2}\/?[0-9a-f]{62}/g, "HEX"))).toEqual([
      "object-digest-mismatch: objects/HEX: its fs-verity digest is HEX",
      "object-verity-missing: objects/HEX: it has no fs-verity",
      "stream-open-failed: streams/layer: object HEX is damaged: its fs-verity digest is HEX",
    ]);
  });

  test("object-check-failed, when a directory of objects cannot be read", () => {
    using fixture = newRepository("insecure");
    const { file } = store(fixture);
    const directory = dirname(objectFile(file));
    const { linux } = fixture.platform;
    const report = check(
      fixture,
      {},
      {
        ...linux,
        openat(dirfd, path, flags, mode) {
          if (path === directory)
            throw new LinuxError(13, "EACCES", "Permission denied", "openat", path);
          return linux.openat(dirfd, path, flags, mode);
        },
      },
    );
    expect(report.missingObjects).toBe(0);
    expect(report.findings.map(textOf)).toEqual([
      `object-check-failed: ${directory}: openat ${directory}: Permission denied`,
      `object-check-failed: streams/layer: object ${toHex(file)} cannot be looked for`,
      expect.stringMatching(/^object-check-failed: images\/.* cannot be looked for$/),
    ]);
  });
});
