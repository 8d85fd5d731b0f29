/** Turning a repository without fs-verity into one that enforces it. */
import { type HashName, sameDigest, toHex } from "../../src/formats/digest.ts";
import { DT_DIR, DT_REG, O_CLOEXEC, O_NOFOLLOW, O_RDONLY } from "../../src/linux/constants.ts";
import type { Fd } from "../../src/linux/linux.ts";
import { describeMeasured, enableVerity, measureVerity } from "../../src/linux/verity.ts";
import { RepositoryError, VERITY_HINT } from "./errors.ts";
import { digestOfObjectPath, OBJECTS, objectFile } from "./layout.ts";
import { readDirectory } from "./links.ts";
import { loadMetadata, writeMetadata } from "./metadata-file.ts";
import { nodePlatform } from "./node-platform.ts";
import type { Platform } from "./platform.ts";
import { openRepository, type RepositoryFiles } from "./repository.ts";

const NAMED_IN_ERROR = 8;

export interface SealOptions {
  /** Called after each of the (at most 256) directories of objects. */
  readonly onProgress?: (done: number, total: number) => void;
  /** Called once if another process uses the repository and must be waited for. */
  readonly onWait?: () => void;
  /** For tests. */
  readonly platform?: Platform;
}

export interface Sealed {
  /** Objects in the repository. */
  readonly objects: number;
  /** Those that had no fs-verity before. */
  readonly enabled: number;
  /** Whether the repository enforced fs-verity before. */
  readonly already: boolean;
}

/**
 * Enables fs-verity on every object and then makes the repository enforce it. Others may use it meanwhile; only the end waits
 * until nobody else has it open, and then does the same once more with what was added since, which is quick.
 *
 * An object whose fs-verity digest is not its name is an error that names it; the others are sealed nevertheless.
 *
 * Order: the objects, each for itself; sync of the file system; meta.json with fs-verity in place of the one without, by one
 * atomic step. So a run that is interrupted or fails leaves the repository as open as it was, and can be repeated: what
 * was sealed is only measured then.
 */
export function sealRepository(path: string, options: SealOptions = {}): Sealed {
  const platform = options.platform ?? nodePlatform;
  using repository = openRepository(path, {
    platform,
    insecure: true,
    ...(options.onWait && { onWait: options.onWait }),
  });
  repository.requireWritable();
  const before = sealObjects(repository.files, options);
  return repository.exclusively(() => {
    const stored = loadMetadata(platform, repository.files.root);
    if (stored === undefined) throw new RepositoryError("bad-metadata", "no meta.json");
    const { metadata, secure } = stored;
    const { objects, enabled } = sealObjects(repository.files, {});
    const { root } = repository.files;
    platform.linux.syncfs(root);
    if (!secure) writeMetadata(platform, root, metadata, { secure: true, replace: true });
    return { objects, enabled: before.enabled + enabled, already: secure };
  }, options.onWait);
}

/** All objects that are there. Throws if some are damaged. */
function sealObjects(
  { platform, root, hash }: RepositoryFiles,
  { onProgress }: Pick<SealOptions, "onProgress">,
): Pick<Sealed, "objects" | "enabled"> {
  const { linux } = platform;
  const damaged: string[] = [];
  let objects = 0;
  let enabled = 0;
  const directories = readDirectory(linux, root, OBJECTS).filter(({ type }) => type === DT_DIR);
  for (const [index, { name: directory }] of directories.entries()) {
    for (const { name, type } of readDirectory(linux, root, `${OBJECTS}/${directory}`)) {
      const digest = digestOfObjectPath(`${directory}/${name}`, hash);
      if (digest === undefined || type !== DT_REG) continue; // not an object, so nothing finds it
      objects++;
      const outcome = sealObject(platform, root, digest, hash);
      if (outcome === "enabled") enabled++;
      if (outcome === "damaged") damaged.push(toHex(digest));
    }
    onProgress?.(index + 1, directories.length);
  }
  if (damaged.length === 0) return { objects, enabled };
  const named = damaged.slice(0, NAMED_IN_ERROR).join(", ");
  const more =
    damaged.length > NAMED_IN_ERROR ? ` and ${damaged.length - NAMED_IN_ERROR} more` : "";
  throw new RepositoryError(
    "corrupt",
    `not sealed, ${damaged.length} of ${objects} objects are damaged: ${named}${more}`,
  );
}

/** Enables fs-verity on an object that has none, and compares its digest with its name. */
export function sealObject(
  { linux, pause }: Platform,
  root: Fd,
  digest: Uint8Array,
  hash: HashName,
): "enabled" | "measured" | "damaged" {
  const fd = linux.openat(root, objectFile(digest), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  try {
    let measured = measureVerity(linux, fd, hash);
    const had = measured.state === "verity";
    if (measured.state === "none") {
      enableVerity(linux, fd, hash, pause);
      measured = measureVerity(linux, fd, hash);
    }
    if (measured.state === "unsupported" || measured.state === "none") {
      throw new RepositoryError("no-verity", describeMeasured(measured), {
        hint: VERITY_HINT,
      });
    }
    if (measured.state !== "verity") return "damaged";
    if (!sameDigest(measured.digest, digest)) return "damaged";
    return had ? "measured" : "enabled";
  } catch (error) {
    throw new Error(`object ${toHex(digest)}`, { cause: error });
  } finally {
    linux.close(fd);
  }
}
