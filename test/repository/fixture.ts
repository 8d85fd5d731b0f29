/** Repositories for tests, on the real file system, with fs-verity or without. */
import { existsSync, mkdtempSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type HashName, objectPath, toHex } from "../../src/formats/digest.ts";
import { parseDumpfile } from "../../src/formats/dumpfile.ts";
import { type ErofsFormat, writeErofs } from "../../src/formats/erofs/index.ts";
import { CONTENT_TYPES } from "../../src/formats/splitstream.ts";
import { SplitstreamWriter } from "../../src/formats/splitstream-writer.ts";
import { O_TMPFILE } from "../../src/linux/constants.ts";
import { type Linux, LinuxError } from "../../src/linux/linux.ts";
import { linux } from "../../userspace/linux.ts";
import { initRepository } from "../../userspace/repository/init.ts";
import { nodePlatform } from "../../userspace/repository/node-platform.ts";
import type { Platform } from "../../userspace/repository/platform.ts";
import { openRepository, type Repository } from "../../userspace/repository/repository.ts";
import { zstd } from "../../userspace/zstd.ts";
import { type FakeVerity, fakeVerity } from "./fake-verity.ts";

export const bytes = (text: string) => new TextEncoder().encode(text);

/** The real calls but for those that wait for the disk, which tests have no use for. */
export const quickLinux: Linux = { ...linux, syncfs() {}, fsync() {}, fdatasync() {} };

/** As on a file system that has no nameless files. */
export const withoutNamelessFiles: Linux = {
  ...quickLinux,
  openat(dirfd, path, flags, mode) {
    if ((flags & O_TMPFILE) === O_TMPFILE) {
      throw new LinuxError(95, "EOPNOTSUPP", "Operation not supported", "openat", String(path));
    }
    return quickLinux.openat(dirfd, path, flags, mode);
  },
};

export const platformOf = (linux: Linux): Platform => ({ ...nodePlatform, linux, pause() {} });

/** Memory, where there is such a directory: tests with many files are much faster there. */
const FAST = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();

/** A directory that is gone with the test's scope. */
export function temporaryDirectory(parent = FAST): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(parent, "cfsboot-repository-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

export interface Fixture extends Disposable {
  readonly path: string;
  readonly platform: Platform;
  readonly verity: FakeVerity;
  readonly open: (options?: { insecure?: boolean; requireVerity?: boolean }) => Repository;
  /** What the symlink at a path of the repository holds. */
  readonly link: (path: string) => string;
}

/** A new repository. */
export function newRepository(
  kind: "secure" | "insecure",
  { hash = "sha256" as HashName, base = quickLinux }: { hash?: HashName; base?: Linux } = {},
): Fixture {
  const directory = temporaryDirectory();
  const path = join(directory.path, "repository");
  const verity = fakeVerity(base);
  const platform = platformOf(verity.linux);
  initRepository(path, { hash, format: 1, insecure: kind === "insecure", platform });
  return {
    path,
    platform,
    verity,
    open: (options = {}) => openRepository(path, { platform, ...options }),
    link: (name) => readlinkSync(join(path, name)),
    [Symbol.dispose]: () => directory[Symbol.dispose](),
  };
}

/** A stream that refers to these objects. */
export function streamOf(hash: HashName, objects: readonly Uint8Array[], text = ""): Uint8Array {
  const writer = new SplitstreamWriter(hash, CONTENT_TYPES["oci-layer"], zstd);
  writer.inline(bytes(text));
  for (const object of objects) writer.external(object, 100);
  return writer.finish();
}

/** A stream that is a document: one object, and names of other streams and images. */
export function documentOf(
  hash: HashName,
  document: Uint8Array,
  names: Readonly<Record<string, Uint8Array>>,
): Uint8Array {
  const writer = new SplitstreamWriter(hash, CONTENT_TYPES["oci-config"], zstd);
  for (const [name, digest] of Object.entries(names)) writer.addNamedRef(name, digest);
  writer.external(document, 100);
  return writer.finish();
}

/** A filesystem image with a file of 100 bytes for each object. */
export function imageOf(objects: readonly Uint8Array[], format: ErofsFormat = 1): Uint8Array {
  const files = objects.map((digest, i) => {
    const hex = toHex(digest);
    return `/file${i} 100 100644 1 0 0 0 0.0 ${objectPath(hex)} - ${hex}\n`;
  });
  const dump = bytes(`/ 4096 40755 2 0 0 0 0.0 - - -\n${files.join("")}`);
  return writeErofs(parseDumpfile(dump).tree, { format });
}
