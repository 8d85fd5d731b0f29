/** `cfsboot image copy` */
import type { Command } from "commander";
import type { CopyResult } from "../oci/copy.ts";
import type { WritableReference } from "../oci/open-destination.ts";
import { UsageError } from "./errors.ts";
import { addExamples } from "./example.ts";
import { type RegistryFlags, registryOptions } from "./pull.ts";
import { terminalProgress } from "./pull-progress.ts";
import { openRepositoryAt, repoOption } from "./repository.ts";

interface CopyFlags extends RegistryFlags {
  readonly repo?: string;
  readonly json: boolean;
}

/** Adds `copy` to the `image` command. `nameHelp` says what stands for an image. */
export function registerCopy(image: Command, nameHelp: string): void {
  const command = image
    .command("copy")
    .description(
      "copy an image to a registry or an image layout; layers that it does not have are compressed anew",
    )
    .argument("<name>", nameHelp)
    .argument("<destination>", "oci:DIRECTORY[:TAG] or docker://HOST/NAME[:TAG]")
    .addOption(repoOption())
    .option("--json", "print the result as JSON", false)
    .action(copy);
  registryOptions(command);
  addExamples(
    command,
    "cfsboot image copy debian oci:./debian:13",
    "cfsboot image copy debian docker://registry.example.com/debian:13",
  );
}

async function copy(name: string, target: string, flags: CopyFlags): Promise<void> {
  const { openImageWithManifest } = await import("../oci/inspect.ts");
  const { listTags } = await import("../oci/image.ts");
  const { copyImage } = await import("../oci/copy.ts");
  const { openDestination } = await import("../oci/open-destination.ts");
  const reference = await parseTarget(target);

  using repository = await openRepositoryAt(flags.repo);
  const image = openImageWithManifest(repository, name);
  const { digest } = image.manifest;
  const tags = listTags(repository).filter(({ manifestDigest }) => manifestDigest === digest);
  const progress = process.stderr.isTTY ? terminalProgress() : undefined;
  let result: CopyResult;
  try {
    const destination = await openDestination(repository.files.platform.linux, reference, {
      ...flags,
      tags: tags.map(({ tag }) => tag),
    });
    try {
      result = await copyImage(repository, image, destination, progress);
    } finally {
      await destination.close();
    }
  } catch (error) {
    throw new Error(`copy ${name} to ${target}`, { cause: error });
  } finally {
    progress?.stop();
  }
  process.stdout.write(
    flags.json ? `${JSON.stringify(toJson(result, digest))}\n` : toText(result, target),
  );
}

async function parseTarget(target: string): Promise<WritableReference> {
  const { parseReference } = await import("../oci/reference.ts");
  const { requireWritableReference } = await import("../oci/open-destination.ts");
  try {
    return requireWritableReference(parseReference(target));
  } catch (error) {
    const { message, cause } = error as Error;
    throw new UsageError(message, { cause });
  }
}

function toText({ manifestDigest, configDigest, layers }: CopyResult, target: string): string {
  const present = layers.filter((layer) => layer.present).length;
  const anew = layers.filter(({ source, digest }) => source !== digest).length;
  const details = [
    ...(present > 0 ? [`${present} already there`] : []),
    ...(anew > 0 ? [`${anew} compressed anew`] : []),
  ];
  const lines = [
    `manifest ${manifestDigest}`,
    `config   ${configDigest}`,
    `copied   ${target}`,
    `layers   ${layers.length}${details.length > 0 ? `, ${details.join(", ")}` : ""}`,
  ];
  return `${lines.join("\n")}\n`;
}

function toJson({ manifestDigest, configDigest, layers }: CopyResult, source: string): object {
  return {
    manifest_digest: manifestDigest,
    source_manifest_digest: source,
    config_digest: configDigest,
    layers: layers.map((layer) => ({
      digest: layer.digest,
      source_digest: layer.source,
      size: layer.size,
      reused: layer.present,
    })),
  };
}
