/** `cfsboot image tag`, `cfsboot image untag` and `cfsboot image rm` */
import type { Command } from "commander";
import type { Removal } from "../oci/remove.ts";
import { addExamples } from "./example.ts";
import { openRepositoryAt, repoOption, repositoryPath, waiting } from "./repository.ts";

interface Flags {
  readonly repo?: string;
}

/** Adds the commands to `image`. `nameHelp` says what stands for an image. */
export function registerNames(image: Command, nameHelp: string): void {
  addExamples(
    image
      .command("tag")
      .description("give an image a name, taking it from the image that had it")
      .argument("<image>", nameHelp)
      .argument("<name>", "the new name")
      .addOption(repoOption())
      .action(tag),
    "cfsboot image tag debian debian-before-upgrade",
  );
  addExamples(
    image
      .command("untag")
      .description(
        "take a name from an image, which goes with the next collection if it has no other",
      )
      .argument("<name>", "tag")
      .addOption(repoOption())
      .action(untag),
    "cfsboot image untag debian-before-upgrade",
  );
  addExamples(
    image
      .command("rm")
      .description("remove an image: its name, or all its names if a digest is given")
      .argument("<name>", "tag, or @sha256:… of the manifest")
      .addOption(repoOption())
      .action(remove),
    "cfsboot image rm debian",
  );
}

async function tag(image: string, name: string, flags: Flags): Promise<void> {
  const { tagImage } = await import("../oci/image.ts");
  const { openImageWithManifest } = await import("../oci/inspect.ts");
  using repository = await openRepositoryAt(flags.repo, { write: true });
  const { digest } = openImageWithManifest(repository, image).manifest;
  tagImage(repository, digest, name);
  process.stdout.write(`Tagged ${digest} as ${name}\n`);
}

async function untag(name: string, flags: Flags): Promise<void> {
  const { resolveTag, untagImage } = await import("../oci/image.ts");
  using repository = await openRepositoryAt(flags.repo, { write: true });
  try {
    if (!untagImage(repository, name)) resolveTag(repository, name); // which says that there is none
  } catch (error) {
    throw new Error(`untag ${name}`, { cause: error });
  }
  process.stdout.write(`Removed tag ${name}\n`);
}

async function remove(name: string, flags: Flags): Promise<void> {
  const { removeImage } = await import("../oci/remove.ts");
  using repository = await openRepositoryAt(flags.repo, { write: true });
  const removal = removeImage(repository, name, waiting(repositoryPath(flags.repo)));
  process.stdout.write(describe(removal, repository.path));
}

function describe({ manifestDigest, tags, keptBy, referrers }: Removal, path: string): string {
  const lines = tags.map((name) => `Removed tag ${name}`);
  if (keptBy.length > 0) {
    lines.push(`Kept image ${manifestDigest}, which is still named:`);
    lines.push(...keptBy.map((name) => `  ${name}`));
  } else {
    lines.push(...referrers.map((digest) => `Removed referrer ${digest}`));
    lines.push(`Removed image ${manifestDigest}`);
    lines.push(`Its objects stay until: cfsboot repo gc --repo ${path}`);
  }
  return `${lines.join("\n")}\n`;
}
