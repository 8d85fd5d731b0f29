/** What of a machine's deployments nothing needs any more. */
import type { Machine } from "./deployments.ts";
import { legacyNames } from "./legacy-kernels.ts";
import { withPrefix } from "./menu-entry.ts";

/** How the tag of a deployment's image begins; then comes the digest of its manifest, `sha256:…`. */
const TAG = "localhost/bootc-";

export interface BootGarbage {
  /** There is a staged menu that nothing belongs to. */
  readonly stagedMenu: boolean;
  /** There is a record of something that cannot be booted. */
  readonly record: boolean;
  /** Ids of deployments that cannot be booted, and have a state directory. */
  readonly states: readonly string[];
  /** Names of kernels that get those of today: early releases of bootc wrote no prefix. */
  readonly legacy: readonly string[];
  /** Directories of kernels that no entry boots. */
  readonly artifacts: readonly string[];
  readonly tags: TagChanges;
  /** Images that must stay whatever the repository's references say. */
  readonly roots: readonly string[];
}

export interface TagChanges {
  /** Tags that are missing, with the digests of the manifests that they stand for. */
  readonly add: readonly { readonly tag: string; readonly manifestDigest: string }[];
  readonly remove: readonly string[];
}

/** The tag that keeps a deployment's image. */
export function deploymentTag(manifestDigest: string): string {
  return TAG + manifestDigest;
}

/**
 * Decides what goes. `tags` are all tags of the repository, `manifests` the digests of the manifests that it has: others' tags
 * stay. `found` are the manifests, by deployment, of those whose origin does not say.
 */
export function planGarbage(
  machine: Machine,
  tags: readonly string[],
  manifests: ReadonlySet<string>,
  found: ReadonlyMap<string, string>,
): BootGarbage {
  const { leftovers, deployments, undecided } = machine;
  const legacy = undecided === undefined ? legacyNames(machine) : [];
  // the names that they get: they may be there already, of a command that was cut off
  const renamed = new Set(legacy.map(withPrefix));
  const wanted = new Map(
    deployments.flatMap(({ id, state }) => {
      const manifestDigest = state?.origin?.manifestDigest ?? found.get(id);
      if (manifestDigest === undefined) return [];
      return [[deploymentTag(manifestDigest), manifestDigest] as const];
    }),
  );
  return {
    stagedMenu: leftovers.stagedMenu,
    record: leftovers.record !== undefined,
    states: leftovers.states,
    legacy,
    artifacts: leftovers.artifacts.filter((name) => !renamed.has(name)),
    tags: {
      add: [...wanted]
        .filter(([tag, manifest]) => !tags.includes(tag) && manifests.has(manifest))
        .map(([tag, manifestDigest]) => ({ tag, manifestDigest })),
      remove:
        undecided === undefined
          ? tags.filter((tag) => tag.startsWith(TAG) && !wanted.has(tag))
          : [],
    },
    roots: [...deployments.map(({ id }) => id), ...(undecided ?? [])],
  };
}
