/** What can be wrong with a repository, told apart by callers. */
export type RepositoryProblem =
  /** There is no repository at the path. */
  | "no-repository"
  /** meta.json is damaged. */
  | "bad-metadata"
  /** meta.json demands what this program does not know. */
  | "unsupported"
  /** The repository is not what the caller demanded (hash, fs-verity, formats). */
  | "mismatch"
  | "read-only"
  /** No such image, stream, object or reference. */
  | "not-found"
  /** Something in the repository is not what its name says. */
  | "corrupt"
  /** The file system or kernel cannot do fs-verity. */
  | "no-verity"
  | "bad-name";

/** An error about a repository; `hint` tells what to do, where that is known. */
export class RepositoryError extends Error {
  override readonly name = "RepositoryError";
  readonly problem: RepositoryProblem;
  readonly hint: string | undefined;

  constructor(
    problem: RepositoryProblem,
    message: string,
    options: { cause?: unknown; hint?: string } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.problem = problem;
    this.hint = options.hint;
  }
}

/** Whether `error` is a `RepositoryError` with this problem. */
export function isProblem(error: unknown, problem: RepositoryProblem): error is RepositoryError {
  return error instanceof RepositoryError && error.problem === problem;
}

/** What to do where a file system has no fs-verity. */
export const VERITY_HINT =
  "ext4 needs its feature verity (tune2fs -O verity); btrfs and f2fs always have fs-verity";
