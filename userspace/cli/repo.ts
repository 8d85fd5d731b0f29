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
import { registerImages } from "./repo-images.ts";
import { registerStreams } from "./repo-streams.ts";
import { repoOption, repositoryPath, waiting } from "./repository.ts";

const DEFAULT_HASH: HashName = "sha512";

interface InitFlags {
  readonly repo?: string;
  readonly hash?: HashName;
  readonly erofsFormat: ErofsFormat;
  readonly insecure: boolean;
  readonly ensure: boolean;
  readonly resetMetadata: boolean;
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
        new Option(
          "--hash <name>",
          `hash of its fs-verity digests (default: ${DEFAULT_HASH}; with --reset-metadata that of its objects)`,
        ).choices(["sha256", "sha512"]),
      )
      .addOption(
        new Option("--erofs-format <number>", "format of its images: 0, 1 or 2")
          .argParser(parseFormat)
          .default(1),
      )
      .option("--insecure", "do not enforce fs-verity, for file systems that have none", false)
      .option("--ensure", "take one that is there as it is, whatever its format", false)
      .addOption(
        new Option(
          "--reset-metadata",
          "begin anew with the objects that are there: remove all streams, images and their names",
        )
          .default(false)
          .conflicts("ensure"),
      )
      .action(init),
    "cfsboot repo init",
    "cfsboot repo init --repo ./repository --hash sha256 --insecure",
    "cfsboot repo init --ensure",
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
  registerImages(repo);
  registerStreams(repo);
}

async function init(flags: InitFlags): Promise<void> {
  const path = repositoryPath(flags.repo);
  mkdirSync(dirname(path), { recursive: true });
  const lines = await initialize(path, flags);
  process.stdout.write(`${lines.join("\n")}\n`);
}

/** Does it and says what was done. */
async function initialize(path: string, flags: InitFlags): Promise<string[]> {
  const { hash, erofsFormat: format, insecure } = flags;
  const described = (hash: HashName) => [
    `  algorithm: ${algorithmName(hash)}`,
    `  verity:    ${insecure ? "not required (insecure)" : "required"}`,
    `  images:    EROFS format ${format}`,
  ];
  const made = `Initialized composefs repository at ${path}`;
  const onWait = waiting(path);
  if (flags.resetMetadata) {
    const { resetRepository } = await import("../repository/reset.ts");
    const chosen = resetRepository(path, { format, insecure, onWait, ...(hash && { hash }) });
    return [made, ...described(chosen)];
  }
  const { ensureRepository, initRepository } = await import("../repository/init.ts");
  if (flags.ensure) {
    switch (ensureRepository(path, { format, insecure, onWait, ...(hash && { hash }) })) {
      case "opened":
        return [`Repository already initialized at ${path} (existing configuration preserved)`];
      case "upgraded":
        return [`Upgraded legacy repository at ${path}`];
      case "created":
        return [made, ...described(hash ?? DEFAULT_HASH)];
    }
  }
  return initRepository(path, { hash: hash ?? DEFAULT_HASH, format, insecure })
    ? [made, ...described(hash ?? DEFAULT_HASH)]
    : [`Repository already initialized at ${path}`];
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
