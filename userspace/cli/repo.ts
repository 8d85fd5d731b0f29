/** `cfsboot repo`, and what all commands share that work on a repository. */
import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { type Command, InvalidArgumentError, Option } from "commander";
import type { HashName } from "../../src/formats/digest.ts";
import { algorithmName, type ErofsFormat } from "../../src/formats/meta-json.ts";
import { defaultRepositoryPath } from "../repository/layout.ts";
import type { Repository } from "../repository/repository.ts";
import { addExamples } from "./example.ts";

interface InitFlags {
  readonly repo?: string;
  readonly hash: HashName;
  readonly erofsFormat: ErofsFormat;
  readonly insecure: boolean;
}

interface SealFlags {
  readonly repo?: string;
}

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
export async function openRepositoryAt(option: string | undefined): Promise<Repository> {
  const { openRepository } = await import("../repository/repository.ts");
  const path = repositoryPath(option);
  return openRepository(path, { onWait: waiting(path) });
}

export function register(program: Command): void {
  const repo = program.command("repo").description("make and look after repositories");
  addExamples(
    repo
      .command("init")
      .description("make a repository; does nothing if there is one that is just so")
      .addOption(repoOption())
      .addOption(
        new Option("--hash <name>", "hash of its fs-verity digests")
          .choices(["sha256", "sha512"])
          .default("sha512"),
      )
      .addOption(
        new Option("--erofs-format <number>", "format of its images: 0, 1 or 2")
          .argParser(parseFormat)
          .default(1),
      )
      .option("--insecure", "do not enforce fs-verity, for file systems that have none", false)
      .action(init),
    "cfsboot repo init",
    "cfsboot repo init --repo ./repository --hash sha256 --insecure",
  );
  addExamples(
    repo
      .command("seal")
      .description(
        "enable fs-verity on every object of an insecure repository, and then enforce it",
      )
      .addOption(repoOption())
      .action(seal),
    "cfsboot repo seal --repo /mnt/composefs",
  );
}

async function init(flags: InitFlags): Promise<void> {
  const { initRepository } = await import("../repository/init.ts");
  const path = repositoryPath(flags.repo);
  mkdirSync(dirname(path), { recursive: true });
  const made = initRepository(path, {
    hash: flags.hash,
    format: flags.erofsFormat,
    insecure: flags.insecure,
  });
  const lines = made
    ? [
        `Initialized composefs repository at ${path}`,
        `  algorithm: ${algorithmName(flags.hash)}`,
        `  verity:    ${flags.insecure ? "not required (insecure)" : "required"}`,
        `  images:    EROFS format ${flags.erofsFormat}`,
      ]
    : [`Repository already initialized at ${path}`];
  process.stdout.write(`${lines.join("\n")}\n`);
}

async function seal(flags: SealFlags): Promise<void> {
  const { sealRepository } = await import("../repository/seal.ts");
  const path = repositoryPath(flags.repo);
  const progress = process.stderr.isTTY
    ? (await import("./seal-progress.ts")).sealProgress()
    : undefined;
  try {
    const { objects, enabled, already } = sealRepository(path, {
      onWait: waiting(path),
      ...(progress && { onProgress: progress.update }),
    });
    progress?.stop();
    const what = already ? "was sealed already" : "is sealed";
    process.stdout.write(
      `Repository at ${path} ${what}\n  objects: ${objects}, fs-verity enabled on ${enabled} of them\n`,
    );
  } catch (error) {
    progress?.stop();
    throw new Error(`seal ${path}`, { cause: error });
  }
}

function waiting(path: string): () => void {
  return () => process.stderr.write(`waiting for another process that uses ${path}\n`);
}

function parseFormat(text: string): ErofsFormat {
  if (text === "0" || text === "1" || text === "2") return Number(text) as ErofsFormat;
  throw new InvalidArgumentError("0, 1 or 2 expected.");
}
