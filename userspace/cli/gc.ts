/** `cfsboot repo gc` */
import type { Command } from "commander";
import type { GcResult } from "../repository/gc.ts";
import { describeError } from "./errors.ts";
import { addExamples } from "./example.ts";
import { openRepositoryAt, repoOption, repositoryPath, waiting } from "./repository.ts";

interface GcFlags {
  readonly repo?: string;
  readonly root: readonly string[];
  readonly dryRun: boolean;
  readonly json: boolean;
}

/** Adds `gc` to the `repo` command. */
export function registerGc(repo: Command): void {
  const command = repo
    .command("gc")
    .description("remove the objects that no name leads to")
    .addOption(repoOption())
    .option(
      "-r, --root <name>",
      "keep this stream or image, too; can be repeated",
      (name: string, names: readonly string[]) => [...names, name],
      [],
    )
    .option("-n, --dry-run", "remove nothing, tell what would be", false)
    .option("--json", "print JSON", false)
    .action(gc);
  addExamples(command, "cfsboot repo gc --dry-run", "cfsboot repo gc");
}

async function gc(flags: GcFlags): Promise<void> {
  const { collectGarbage } = await import("../repository/gc.ts");
  const { settleRewrites } = await import("../oci/commit.ts");
  const path = repositoryPath(flags.repo);
  using repository = await openRepositoryAt(flags.repo, { write: !flags.dryRun });
  let result: GcResult;
  try {
    result = collectGarbage(repository, {
      dryRun: flags.dryRun,
      roots: flags.root,
      prepare: () => settleRewrites(repository, warnOf),
      onWait: waiting(path),
    });
  } catch (error) {
    throw new Error(`collect garbage in ${path}`, { cause: error });
  }
  process.stdout.write(flags.json ? gcJson(result, flags.dryRun) : gcText(result, flags.dryRun));
}

/** Tells of an error that is none of the command's. */
export function warnOf(error: unknown): void {
  process.stderr.write(`cfsboot: warning: ${describeError(error).message}\n`);
}

/** The result for people. */
export function gcText(result: GcResult, dryRun: boolean): string {
  const { objectsRemoved, objectsBytes, imagesPruned, streamsPruned } = result;
  const lines = [`Objects: ${objectsRemoved} removed (${objectsBytes} bytes)`];
  if (dryRun) lines.unshift("Dry run (no files deleted):");
  if (imagesPruned + streamsPruned > 0) {
    lines.push(`Pruned symlinks: ${imagesPruned} images, ${streamsPruned} streams`);
  }
  return `${lines.join("\n")}\n`;
}

/** The result as JSON; the fields are those of `cfsctl`'s varlink interface. */
function gcJson(result: GcResult, dryRun: boolean): string {
  const document = {
    result: {
      objects_removed: result.objectsRemoved,
      objects_bytes: result.objectsBytes,
      images_pruned: result.imagesPruned,
      streams_pruned: result.streamsPruned,
    },
    dry_run: dryRun,
  };
  return `${JSON.stringify(document)}\n`;
}
