/** `cfsboot repo` */
import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { type Command, InvalidArgumentError, Option } from "commander";
import type { HashName } from "../../src/formats/digest.ts";
import { algorithmName, type ErofsFormat } from "../../src/formats/meta-json.ts";
import { addExamples } from "./example.ts";
import { registerFsck } from "./fsck.ts";
import { registerGc } from "./gc.ts";
import { registerInfo } from "./info.ts";
import { repoOption, repositoryPath, waiting } from "./repository.ts";

interface InitFlags {
  readonly repo?: string;
  readonly hash: HashName;
  readonly erofsFormat: ErofsFormat;
  readonly insecure: boolean;
}

interface SealFlags {
  readonly repo?: string;
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
  registerInfo(repo);
  registerFsck(repo);
  registerGc(repo);
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
    ? (await import("./directories-progress.ts")).directoriesProgress("sealing")
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

function parseFormat(text: string): ErofsFormat {
  if (text === "0" || text === "1" || text === "2") return Number(text) as ErofsFormat;
  throw new InvalidArgumentError("0, 1 or 2 expected.");
}
