/** Beginning a repository anew with the objects that it has. */
import { ascii, type ByteString, toBytes } from "../../src/formats/bytestring.ts";
import { type HashName, hashOfHexLength } from "../../src/formats/digest.ts";
import {
  type ErofsFormat,
  newMetadata,
  unknownReadOnlyFeatures,
} from "../../src/formats/meta-json.ts";
import {
  AT_FDCWD,
  AT_REMOVEDIR,
  DT_DIR,
  DT_LNK,
  DT_REG,
  O_CLOEXEC,
  O_DIRECTORY,
  O_RDONLY,
} from "../../src/linux/constants.ts";
import { type Fd, isErrno, type Linux } from "../../src/linux/linux.ts";
import { isProblem, RepositoryError } from "./errors.ts";
import { initRepository } from "./init.ts";
import { META_JSON, OBJECTS } from "./layout.ts";
import { removeLeftovers } from "./leftovers.ts";
import { readDirectory, syncDirectory } from "./links.ts";
import { lockExclusive } from "./lock.ts";
import { loadDamagedMetadata, newMetadataFile } from "./metadata-file.ts";
import { nodePlatform } from "./node-platform.ts";
import type { Platform } from "./platform.ts";

const DEFAULT_HASH: HashName = "sha512";

export interface ResetOptions {
  /** As it was, if not given. */
  readonly hash?: HashName;
  readonly format: ErofsFormat;
  readonly insecure: boolean;
  /** Called once if another process uses the repository and must be waited for. */
  readonly onWait?: () => void;
  /** For tests. */
  readonly platform?: Platform;
}

/**
 * Removes all names from a repository and gives it a new meta.json; if there is no repository, makes one. Objects stay, to be
 * used by the next pull or collected as garbage; but those of another hash nothing could use any more, and they go. Files
 * that are not the repository's stay, too. Waits until nobody else has the repository open. Returns the hash.
 *
 * Order: a new meta.json, without its name (so that nothing is removed where there can be none); references; streams
 * and images; objects of another hash; sync of the file system; the new meta.json in place of the old one. An interrupted
 * run leaves a repository that has lost some names, and can be repeated.
 */
export function resetRepository(path: string, options: ResetOptions): HashName {
  const platform = options.platform ?? nodePlatform;
  const { linux } = platform;
  let root: Fd;
  try {
    root = linux.openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  } catch (error) {
    if (!isErrno(error, "ENOENT")) throw error;
    return make(path, options);
  }
  try {
    lockExclusive(linux, root, options.onWait);
    if (!isRepository(linux, root)) {
      linux.close(root);
      root = -1;
      return make(path, options);
    }
    return reset(platform, root, options);
  } catch (error) {
    throw new Error(`reset ${path}`, { cause: error });
  } finally {
    if (root >= 0) linux.close(root);
  }
}

function make(path: string, options: ResetOptions): HashName {
  const { hash = DEFAULT_HASH } = options;
  initRepository(path, { ...options, hash });
  return hash;
}

/** Somebody's directory in which there happens to be one called `images` is none. */
function isRepository(linux: Linux, root: Fd): boolean {
  return readDirectory(linux, root, ".").some(
    ({ name, type }) =>
      (name === META_JSON && type === DT_REG) || (name === OBJECTS && type === DT_DIR),
  );
}

function reset(platform: Platform, root: Fd, options: ResetOptions): HashName {
  const { linux } = platform;
  removeLeftovers(linux, root);
  const found = hashOf(platform, root);
  const hash = options.hash ?? found ?? DEFAULT_HASH;
  const metadata = newMetadata(hash, options.format);
  const file = newMetadataFile(platform, root, metadata, !options.insecure);
  try {
    for (const kind of ["streams", "images"]) removeLinks(linux, root, ascii(`${kind}/refs`));
    for (const kind of ["streams", "images"]) removeLinks(linux, root, ascii(kind));
    // Where there are objects of both, it must be said which ones are to stay.
    if (options.hash !== undefined || found !== undefined) removeForeignObjects(linux, root, hash);
    linux.syncfs(root);
    file.replace(root, META_JSON);
    syncDirectory(linux, root, ".");
  } finally {
    file.discard();
  }
  return hash;
}

/** Throws if what is there is of a kind that this program must leave alone. */
function hashOf(platform: Platform, root: Fd): HashName | undefined {
  try {
    const stored = loadDamagedMetadata(platform, root);
    const unknown = stored === undefined ? [] : unknownReadOnlyFeatures(stored.metadata);
    if (unknown.length > 0) {
      throw new RepositoryError(
        "read-only",
        `it has features that this program does not know: ${unknown.join(", ")}`,
      );
    }
    return stored?.metadata.hash;
  } catch (error) {
    if (isProblem(error, "bad-metadata")) return undefined;
    throw error;
  }
}

/** Removes symlinks, and the directories that are empty then. */
function removeLinks(linux: Linux, root: Fd, directory: ByteString): void {
  for (const { name, type } of readDirectory(linux, root, toBytes(directory))) {
    const path = `${directory}/${name}` as ByteString;
    if (type === DT_DIR) removeLinks(linux, root, path);
    else if (type === DT_LNK) linux.unlinkat(root, toBytes(path), 0);
  }
  try {
    linux.unlinkat(root, toBytes(directory), AT_REMOVEDIR);
  } catch (error) {
    if (!isErrno(error, "ENOENT", "ENOTEMPTY", "EEXIST")) throw error;
  }
}

function removeForeignObjects(linux: Linux, root: Fd, hash: HashName): void {
  for (const { name: directory, type } of readDirectory(linux, root, OBJECTS)) {
    if (type !== DT_DIR || !/^[0-9a-f]{2}$/.test(directory)) continue;
    for (const { name, type } of readDirectory(linux, root, `${OBJECTS}/${directory}`)) {
      if (type !== DT_REG || !/^[0-9a-f]+$/.test(name)) continue;
      const other = hashOfHexLength(2 + name.length);
      if (other === undefined || other === hash) continue;
      linux.unlinkat(root, `${OBJECTS}/${directory}/${name}`, 0);
    }
  }
}
