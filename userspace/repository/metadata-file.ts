/** `meta.json` on disk: reading it, writing it once, and doing without it in repositories from before it existed. */
import { fromBytes, fromText, toBytes, toText } from "../../src/formats/bytestring.ts";
import { type HashName, hashOfHexLength } from "../../src/formats/digest.ts";
import {
  type Metadata,
  newMetadata,
  parseMetadata,
  serializeMetadata,
  UnsupportedMetadata,
} from "../../src/formats/meta-json.ts";
import { DT_DIR, O_CLOEXEC, O_RDONLY } from "../../src/linux/constants.ts";
import { readAll, writeAll } from "../../src/linux/files.ts";
import { type Fd, isErrno } from "../../src/linux/linux.ts";
import { describeMeasured, measureVerity } from "../../src/linux/verity.ts";
import { isProblem, RepositoryError, VERITY_HINT } from "./errors.ts";
import { META_JSON, OBJECTS, TEMPORARY_METADATA } from "./layout.ts";
import { readDirectory, syncDirectory } from "./links.ts";
import type { Platform } from "./platform.ts";
import { TemporaryFile } from "./temporary-file.ts";

const MODE = 0o644;
const LIMIT = 1 << 20;

export interface StoredMetadata {
  readonly metadata: Metadata;
  /** Whether the repository enforces fs-verity. */
  readonly secure: boolean;
  /** Whether there is a meta.json. If not, this is what follows from the objects. */
  readonly written: boolean;
  /** There is a meta.json, but it cannot be read: all else is what follows from the objects. */
  readonly damage?: unknown;
}

/** Reads meta.json, or infers what it would say. `undefined`: there is neither meta.json nor an object. */
export function loadMetadata(platform: Platform, root: Fd): StoredMetadata | undefined {
  const { linux } = platform;
  let fd: Fd;
  try {
    fd = linux.openat(root, META_JSON, O_RDONLY | O_CLOEXEC);
  } catch (error) {
    if (isErrno(error, "ENOENT")) return inferMetadata(platform, root);
    throw error;
  }
  try {
    const text = toText(fromBytes(readAll(linux, fd, LIMIT)));
    if (text === undefined) throw new Error("not UTF-8");
    const metadata = parseMetadata(text);
    // fs-verity on this file is the only mark of a secure repository.
    const measured = measureVerity(linux, fd, metadata.hash);
    if (measured.state === "other-algorithm") throw new Error(describeMeasured(measured));
    return { metadata, secure: measured.state === "verity", written: true };
  } catch (error) {
    const problem = error instanceof UnsupportedMetadata ? "unsupported" : "bad-metadata";
    throw new RepositoryError(problem, META_JSON, { cause: error });
  } finally {
    linux.close(fd);
  }
}

/** As `loadMetadata`; but instead of a meta.json that is damaged counts what follows from the objects. */
export function loadDamagedMetadata(platform: Platform, root: Fd): StoredMetadata | undefined {
  try {
    return loadMetadata(platform, root);
  } catch (error) {
    if (!isProblem(error, "bad-metadata")) throw error;
    const inferred = inferMetadata(platform, root);
    if (inferred === undefined) throw error;
    return { ...inferred, written: true, damage: error };
  }
}

/**
 * What meta.json would say of a repository from before it existed (bootc up to 1.15).
 *
 * The hash is that of the objects' names. All of its images are of format 2, the only one there was, so that is the format
 * to stay with: images made again keep their digests. (composefs-rs marks such a repository as one of format 1 when it
 * upgrades it.) It is secure if an object of every directory has fs-verity.
 */
function inferMetadata({ linux }: Platform, root: Fd): StoredMetadata | undefined {
  let hash: HashName | undefined;
  let secure = true;
  for (const { name: directory, type } of readDirectory(linux, root, OBJECTS)) {
    if (type !== DT_DIR || !/^[0-9a-f]{2}$/.test(directory)) continue;
    const sample = readDirectory(linux, root, `${OBJECTS}/${directory}`).find(
      ({ name }) => hashOfObject(name) !== undefined,
    );
    if (sample === undefined) continue;
    const path = `${OBJECTS}/${directory}/${sample.name}`;
    hash ??= hashOfObject(sample.name)!;
    if (hash !== hashOfObject(sample.name)) {
      throw new RepositoryError(
        "bad-metadata",
        `no ${META_JSON}, and ${path} is no ${hash} digest`,
      );
    }
    if (!secure) continue;
    const fd = linux.openat(root, path, O_RDONLY | O_CLOEXEC);
    try {
      secure = measureVerity(linux, fd, hash).state === "verity";
    } finally {
      linux.close(fd);
    }
  }
  if (hash === undefined) return undefined;
  return { metadata: newMetadata(hash, 2), secure, written: false };
}

function hashOfObject(name: string): HashName | undefined {
  return /^[0-9a-f]+$/.test(name) ? hashOfHexLength(2 + name.length) : undefined;
}

/**
 * Writes meta.json. Returns false, and changes nothing, if there is one and it is not to be replaced.
 *
 * Order: the content, synced; fs-verity, if `secure`; the name, by one atomic step; sync of the directory. So the file is
 * there completely or not at all.
 */
export function writeMetadata(
  platform: Platform,
  root: Fd,
  metadata: Metadata,
  { secure, replace }: { readonly secure: boolean; readonly replace: boolean },
): boolean {
  const file = newMetadataFile(platform, root, metadata, secure);
  try {
    if (replace) file.replace(root, META_JSON);
    else if (!file.publish(root, META_JSON)) return false;
    syncDirectory(platform.linux, root, ".");
    return true;
  } finally {
    file.discard();
  }
}

/** A complete meta.json that has no name yet. The caller discards it, whatever comes of it. */
export function newMetadataFile(
  platform: Platform,
  root: Fd,
  metadata: Metadata,
  secure: boolean,
): TemporaryFile {
  const { linux } = platform;
  const file = new TemporaryFile(linux, root, TEMPORARY_METADATA, MODE);
  try {
    writeAll(linux, file.fd, toBytes(fromText(serializeMetadata(metadata))));
    linux.fsync(file.fd);
    if (secure) {
      const measured = file.enableVerity(metadata.hash, platform.pause);
      if (measured.state !== "verity") {
        throw new RepositoryError("no-verity", `${META_JSON}: ${describeMeasured(measured)}`, {
          hint: VERITY_HINT,
        });
      }
    }
    return file;
  } catch (error) {
    file.discard();
    throw error;
  }
}
