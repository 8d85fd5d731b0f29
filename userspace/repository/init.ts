/** Making a repository. */
import type { HashName } from "../../src/formats/digest.ts";
import {
  algorithmName,
  type ErofsFormat,
  effectiveFormats,
  newMetadata,
  serializeMetadata,
} from "../../src/formats/meta-json.ts";
import {
  AT_FDCWD,
  AT_REMOVEDIR,
  O_CLOEXEC,
  O_DIRECTORY,
  O_RDONLY,
} from "../../src/linux/constants.ts";
import { type Fd, isErrno, type Linux } from "../../src/linux/linux.ts";
import { isProblem, RepositoryError } from "./errors.ts";
import { lockShared } from "./lock.ts";
import { loadMetadata, type StoredMetadata, writeMetadata } from "./metadata-file.ts";
import { nodePlatform } from "./node-platform.ts";
import type { Platform } from "./platform.ts";
import { openRepository } from "./repository.ts";

const DIRECTORY_MODE = 0o700;

export interface InitOptions {
  readonly hash: HashName;
  readonly format: ErofsFormat;
  /** Make a repository that does not enforce fs-verity. */
  readonly insecure: boolean;
  /** How a person asks for that; absent: `--insecure`. */
  readonly insecureOption?: string;
  /** For tests. */
  readonly platform?: Platform;
}

/**
 * Makes a repository at `path`, whose parent directory must exist. Returns whether it was made: false if there is one that
 * is just so. One that is different is an error, and stays as it is.
 *
 * Order: the directory; then meta.json, which makes it a repository. If that fails, a directory that was made is removed.
 */
export function initRepository(path: string, options: InitOptions): boolean {
  const platform = options.platform ?? nodePlatform;
  const { linux } = platform;
  const made = makeDirectory(linux, path);
  try {
    const root = linux.openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    try {
      lockShared(linux, root);
      return writeOrCompare(platform, path, root, options);
    } finally {
      linux.close(root);
    }
  } catch (error) {
    if (made) removeIfEmpty(linux, path);
    if (!isProblem(error, "no-verity")) throw error;
    throw new RepositoryError("no-verity", `make a repository at ${path}`, {
      cause: error,
      hint: `${options.insecureOption ?? "--insecure"} makes one that does without fs-verity`,
    });
  }
}

export interface EnsureOptions extends Partial<InitOptions> {
  /** Called once if another process has the repository for itself and must be waited for. */
  readonly onWait?: () => void;
}

/** What `ensureRepository` has found, or done. */
export type Ensured = "opened" | "created" | "upgraded";

/**
 * Sees to it that there is a repository at `path`. One that is there stays as it is, whatever its format and whether it
 * enforces fs-verity; it is only an error if it has another hash than the one given. One from before there was a meta.json
 * gets its own. Where there is none, one is made, if nothing else is given with SHA-512, format 1 and fs-verity.
 */
export function ensureRepository(path: string, options: EnsureOptions = {}): Ensured {
  const { hash, format = 1, insecure = false, insecureOption, platform, onWait } = options;
  const given = { ...(platform && { platform }) };
  try {
    using repository = openRepository(path, {
      ...given,
      ...(hash && { hash }),
      ...(onWait && { onWait }),
    });
    if (repository.metadataState === "ok") return "opened";
    repository.requireWritable(); // which writes it
    return "upgraded";
  } catch (error) {
    if (!isProblem(error, "no-repository")) throw error;
  }
  const wanted = { ...given, hash: hash ?? "sha512", format, insecure };
  const made = initRepository(path, { ...wanted, ...(insecureOption && { insecureOption }) });
  return made ? "created" : "opened";
}

function writeOrCompare(
  platform: Platform,
  path: string,
  root: Fd,
  { hash, format, insecure }: InitOptions,
): boolean {
  const metadata = newMetadata(hash, format);
  const secure = !insecure;
  const write = () => writeMetadata(platform, root, metadata, { secure, replace: false });
  let found = loadMetadata(platform, root);
  if (found === undefined) {
    if (write()) return true;
    found = loadMetadata(platform, root); // another process was faster
  }
  if (found === undefined) throw new RepositoryError("bad-metadata", `repository ${path}`);
  if (
    found.secure !== secure ||
    serializeMetadata(found.metadata) !== serializeMetadata(metadata)
  ) {
    const wanted = { metadata, secure, written: false };
    throw new RepositoryError(
      "mismatch",
      `there is a repository at ${path} already, and it is different: ${describe(found)}; asked for was ${describe(wanted)}`,
      !found.secure && secure ? { hint: `cfsboot repo seal --repo ${path}` } : {},
    );
  }
  if (!found.written) write();
  return false;
}

function describe({ metadata, secure }: StoredMetadata): string {
  const formats = effectiveFormats(metadata);
  const names = [formats.default, ...formats.extra].join(" and ");
  return `${algorithmName(metadata.hash)}, EROFS format ${names}, ${secure ? "with" : "without"} fs-verity`;
}

function makeDirectory(linux: Linux, path: string): boolean {
  try {
    linux.mkdirat(AT_FDCWD, path, DIRECTORY_MODE);
    return true;
  } catch (error) {
    if (isErrno(error, "EEXIST")) return false;
    throw error;
  }
}

function removeIfEmpty(linux: Linux, path: string): void {
  try {
    linux.unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
  } catch (error) {
    if (!isErrno(error, "ENOTEMPTY", "EEXIST", "ENOENT")) throw error;
  }
}
