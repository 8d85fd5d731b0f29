/** What all commands share that work on a repository. */
import { basename, dirname, resolve } from "node:path";
import { Option } from "commander";
import { AT_FDCWD, O_CLOEXEC, O_PATH, ST_RDONLY } from "../../src/linux/constants.ts";
import { isErrno, type Linux } from "../../src/linux/linux.ts";
import { openWritable } from "../../src/linux/writable-mount.ts";
import { defaultRepositoryPath } from "../repository/layout.ts";
import type { OpenOptions, Repository } from "../repository/repository.ts";

/** The option that says which repository; its value is for `openRepositoryAt`. */
export function repoOption(): Option {
  return new Option(
    "--repo <directory>",
    "the repository (default: /sysroot/composefs, or for users other than root ~/.var/lib/composefs)",
  );
}

/** Where the repository is: as the option says, else the default one. */
export function repositoryPath(option: string | undefined): string {
  return option ?? defaultRepositoryPath(process.getuid?.() ?? 0, process.env);
}

export interface AccessOptions extends Pick<OpenOptions, "damagedMetadata"> {
  /** It will be written to. */
  readonly write?: boolean;
}

/**
 * Opens the repository that the option says, or the default one. Says so if it must wait for another process. That of the
 * running machine, whose physical root is mounted read-only, is opened by a mount of our own where it will be written to.
 */
export async function openRepositoryAt(
  option: string | undefined,
  { write = false, ...options }: AccessOptions = {},
): Promise<Repository> {
  const { openRepository } = await import("../repository/repository.ts");
  const name = repositoryPath(option);
  const open = (path: string) => openRepository(path, { ...options, name, onWait: waiting(name) });
  if (!write || resolve(name) !== defaultRepositoryPath(0, {})) return open(name);
  const { linux } = await import("../linux.ts");
  const sysroot = writableSysroot(linux, dirname(name));
  if (sysroot === undefined) return open(name);
  try {
    return open(`/proc/self/fd/${sysroot}/${basename(name)}`);
  } finally {
    linux.close(sysroot);
  }
}

/** `undefined` where no mount is needed, or none can be made. */
function writableSysroot(linux: Linux, path: string): number | undefined {
  try {
    const there = linux.openat(AT_FDCWD, path, O_PATH | O_CLOEXEC);
    const { flags } = linux.fstatfs(there);
    linux.close(there);
    return (flags & ST_RDONLY) === 0 ? undefined : openWritable(linux, path);
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR", "EPERM", "EACCES")) return undefined; // opening tells
    throw error;
  }
}

/** Says, when it is called, that another process must be waited for. */
export function waiting(path: string): () => void {
  return () => process.stderr.write(`waiting for another process that uses ${path}\n`);
}
