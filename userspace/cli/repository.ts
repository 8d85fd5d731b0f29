/** What all commands share that work on a repository. */
import { Option } from "commander";
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

/** Opens the repository that the option says, or the default one. Says so if it must wait for another process. */
export async function openRepositoryAt(
  option: string | undefined,
  options: Pick<OpenOptions, "damagedMetadata"> = {},
): Promise<Repository> {
  const { openRepository } = await import("../repository/repository.ts");
  const path = repositoryPath(option);
  return openRepository(path, { ...options, onWait: waiting(path) });
}

/** Says, when it is called, that another process must be waited for. */
export function waiting(path: string): () => void {
  return () => process.stderr.write(`waiting for another process that uses ${path}\n`);
}
