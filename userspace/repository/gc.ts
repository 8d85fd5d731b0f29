/** Garbage collection: removes the objects that nothing refers to, and the links to them. */
import { type ByteString, fromText, toBytes } from "../../src/formats/bytestring.ts";
import { AT_SYMLINK_NOFOLLOW, S_IFMT, S_IFREG } from "../../src/linux/constants.ts";
import { isErrno, type Statx } from "../../src/linux/linux.ts";
import type { DigestSet } from "../../src/model/digest-set.ts";
import {
  deadEntries,
  findLive,
  findRoots,
  type LinkKind,
  type Links,
} from "../../src/model/liveness.ts";
import { listObjects, objectDirectories, objectReader, readLinks } from "./contents.ts";
import { RepositoryError } from "./errors.ts";
import { objectFile } from "./layout.ts";
import { syncDirectory } from "./links.ts";
import type { Repository, RepositoryFiles } from "./repository.ts";

export interface GcOptions {
  /** Remove nothing, and tell what would be. */
  readonly dryRun?: boolean;
  /** Names of streams and images that are kept, with all that they need, as if a reference led to them. */
  readonly roots?: readonly string[];
  /** References to streams that are passed over, by their paths below `refs/`: what would be if they were not there. */
  readonly without?: readonly string[];
  /** Called first, when nobody else has the repository open; not for a dry run. */
  readonly prepare?: () => void;
  /** Called once if another process uses the repository and must be waited for. */
  readonly onWait?: () => void;
}

export interface GcResult {
  readonly objectsRemoved: number;
  /** The sum of their sizes. */
  readonly objectsBytes: number;
  /** Links that were removed from `images/` and `streams/`. */
  readonly imagesPruned: number;
  readonly streamsPruned: number;
}

/**
 * Removes the objects that no reference needs, the links to them, and links to objects that are not there. Waits until
 * nobody else has the repository open; a dry run does not, and writes nothing.
 *
 * If anything that is needed cannot be read, nothing is removed. Files that are no object of this repository, and links
 * that do not lead to one, are left alone.
 *
 * Order: the links; sync of their directories; the objects. So where there is a link, there is what it leads to, and an
 * interrupted run leaves nothing but more garbage.
 */
export function collectGarbage(repository: Repository, options: GcOptions = {}): GcResult {
  const { dryRun = false, prepare, onWait } = options;
  if (dryRun) return sweep(repository, options);
  const collect = () => {
    prepare?.();
    return sweep(repository, options);
  };
  return repository.exclusively(collect, onWait);
}

function sweep(
  repository: Repository,
  { dryRun = false, roots = [], without = [] }: GcOptions,
): GcResult {
  const { files } = repository;
  const { linux } = files.platform;
  const links = withoutRefs(readLinks(files), new Set(without.map(fromText)));
  const more = roots.map(fromText);
  for (const [i, name] of more.entries()) {
    if (links.streams.entries.has(name) || links.images.entries.has(name)) continue;
    throw new RepositoryError("not-found", `there is no stream and no image ${roots[i]}`);
  }
  let live: DigestSet;
  try {
    live = findLive(findRoots(links, more), links, objectReader(repository), files.hash);
  } catch (error) {
    throw new RepositoryError("corrupt", "nothing is removed, what is needed is not known", {
      cause: error,
      hint: `cfsboot repo fsck --repair --repo ${repository.path}`,
    });
  }
  const dead = deadEntries(links, (digest) => live.has(digest) && repository.hasObject(digest));
  if (!dryRun) {
    for (const kind of ["images", "streams"] as const) removeEntries(files, kind, dead[kind]);
  }

  let objectsRemoved = 0;
  let objectsBytes = 0;
  for (const directory of objectDirectories(files)) {
    for (const { digest, path } of listObjects(files, directory).objects) {
      if (live.has(digest)) continue;
      const stat = statFile(files, objectFile(digest));
      if (stat === undefined) continue;
      if (!dryRun) linux.unlinkat(files.root, path, 0);
      objectsRemoved++;
      objectsBytes += stat.size;
    }
  }
  return {
    objectsRemoved,
    objectsBytes,
    imagesPruned: dead.images.length,
    streamsPruned: dead.streams.length,
  };
}

function withoutRefs(links: Links, names: ReadonlySet<ByteString>): Links {
  const refs = links.streams.refs.filter(({ name }) => !names.has(name));
  return { ...links, streams: { ...links.streams, refs } };
}

function removeEntries(
  { platform: { linux }, root }: RepositoryFiles,
  kind: LinkKind,
  names: readonly ByteString[],
): void {
  for (const name of names) {
    linux.unlinkat(root, toBytes(`${kind}/${name}` as ByteString), 0);
  }
  if (names.length > 0) syncDirectory(linux, root, kind);
}

/** What there is to know about a regular file; `undefined` if it is something else, or gone. */
function statFile({ platform: { linux }, root }: RepositoryFiles, path: string): Statx | undefined {
  try {
    const stat = linux.statx(root, path, AT_SYMLINK_NOFOLLOW);
    return (stat.mode & S_IFMT) === S_IFREG ? stat : undefined;
  } catch (error) {
    if (isErrno(error, "ENOENT")) return undefined;
    throw error;
  }
}
