/** `cfsboot image pull` */
import { type Command, InvalidArgumentError } from "commander";
import { type ImagePlatform, parsePlatform } from "../../src/formats/oci.ts";
import { megabytes } from "../../src/model/size-text.ts";
import type { ImportStats } from "../oci/layer.ts";
import { currentPlatform } from "../oci/platform.ts";
import type { PulledLayer, PullResult } from "../oci/pull.ts";
import { hasTransport, parseReference, REFERENCE_FORMS, type Reference } from "../oci/reference.ts";
import type { Transport } from "../oci/transport.ts";
import { describeError, UsageError } from "./errors.ts";
import { addExamples } from "./example.ts";
import { terminalProgress } from "./pull-progress.ts";
import { openRepositoryAt, repoOption } from "./repository.ts";

/** How to speak to registries. */
export interface RegistryFlags {
  readonly tlsVerify?: boolean;
  readonly authfile?: string;
  readonly creds?: string;
}

interface PullFlags extends RegistryFlags {
  readonly repo?: string;
  readonly bootable: boolean;
  readonly platform?: string;
  readonly json: boolean;
}

/** Adds `pull` to the `image` command. */
export function registerPull(image: Command): void {
  const command = image
    .command("pull")
    .description("fetch an image into the repository, verifying every byte, and name it")
    .argument("<reference>", REFERENCE_FORMS)
    .argument("[name]", "the name that it gets here (default: the reference)")
    .addOption(repoOption())
    .option("--bootable", "also make the image that a machine boots", false)
    .option("--platform <os/architecture>", "which image of several (default: this machine's)")
    .option("--json", "print the result as JSON", false)
    .action(pullImage);
  registryOptions(command);
  addExamples(
    command,
    "cfsboot image pull docker://quay.io/fedora/fedora-bootc:42",
    "cfsboot image pull oci:./debian:13 debian --bootable",
    "cfsboot image pull containers-storage:localhost/os:latest os --bootable",
    "cfsboot image pull docker-archive:./saved.tar",
  );
}

/** Adds the options of `RegistryFlags`. */
export function registryOptions(command: Command): Command {
  return command
    .option(
      "--tls-verify <bool>",
      "false: check no certificates, and allow HTTP (default: as registries.conf says)",
      parseBoolean,
    )
    .option("--authfile <file>", "credentials file, as written by podman login")
    .option("--creds <user:password>", "credentials for the registry");
}

async function pullImage(
  source: string,
  name: string | undefined,
  flags: PullFlags,
): Promise<void> {
  const { pull } = await import("../oci/pull.ts");
  const reference = await parseSource(source);
  const platform = usage(() =>
    flags.platform === undefined ? currentPlatform() : parsePlatform(flags.platform),
  );

  using repository = await openRepositoryAt(flags.repo, { write: true });
  repository.requireWritable();
  const progress = process.stderr.isTTY ? terminalProgress() : undefined;
  const warnings: string[] = [];
  const whole = (index: number, why: unknown) => {
    progress?.whole?.(index, why);
    warnings.push(`layer ${index + 1} was fetched as a whole: ${describeError(why).message}`);
  };
  let result: PullResult;
  try {
    const transport = await openTransport(reference, flags, platform);
    try {
      result = await pull(repository, transport, {
        name: name ?? source,
        platform,
        bootable: flags.bootable,
        progress: { ...progress, whole },
      });
    } finally {
      await transport.close();
    }
  } catch (error) {
    throw new Error(`pull ${source}`, { cause: error });
  } finally {
    progress?.stop();
    for (const warning of warnings) process.stderr.write(`cfsboot: warning: ${warning}\n`);
  }
  process.stdout.write(flags.json ? `${JSON.stringify(toJson(result))}\n` : toText(result));
}

/** Opens where an image comes from. */
export async function openTransport(
  reference: Reference,
  flags: RegistryFlags,
  platform: ImagePlatform = currentPlatform(),
): Promise<Transport> {
  const { openSource } = await import("../oci/open.ts");
  return openSource(reference, { ...flags, platform });
}

/** Parses a reference; of a name without a transport, says what it may stand for. */
async function parseSource(source: string): Promise<Reference> {
  if (hasTransport(source)) return usage(() => parseReference(source));
  const { suggestReferences } = await import("../oci/endpoints.ts");
  const { loadRegistriesConf } = await import("../oci/registries.ts");
  const suggestions = suggestReferences(source, loadRegistriesConf());
  throw Object.assign(
    new UsageError(
      suggestions.length === 0
        ? `image reference ${JSON.stringify(source)}: expected ${REFERENCE_FORMS}`
        : `image reference ${JSON.stringify(source)}: expected one that says where the image is`,
    ),
    suggestions.length === 0 ? {} : { hint: `did you mean ${suggestions.join(" or ")}?` },
  );
}

function toText(result: PullResult): string {
  const lines = [
    `manifest ${result.manifestDigest}`,
    `config   ${result.configDigest}`,
    `verity   ${result.manifestVerity}`,
    `tagged   ${result.name}`,
    `objects  ${statsText(result.stats)}`,
  ];
  const partial = result.layers.filter(({ size, present, fetched }) => !present && fetched < size);
  if (partial.length > 0) lines.push(`partial  ${partialText(partial)}`);
  if (result.image !== undefined) lines.push(`image    ${result.image}`);
  if (result.bootImage !== undefined) lines.push(`Boot image: ${result.bootImage}`);
  return `${lines.join("\n")}\n`;
}

function statsText(stats: ImportStats): string {
  const shared = [
    ...(stats.objectsReflinked > 0 ? [`${stats.objectsReflinked} reflinked`] : []),
    ...(stats.objectsHardlinked > 0 ? [`${stats.objectsHardlinked} hard-linked`] : []),
  ];
  return (
    `${stats.objectsStored} new${shared.length > 0 ? ` (${shared.join(", ")})` : ""} + ` +
    `${stats.objectsExisting} already present; ${megabytes(stats.bytesStored)} stored, ${megabytes(stats.bytesInline)} inline`
  );
}

function partialText(layers: readonly PulledLayer[]): string {
  const sum = (key: "size" | "fetched") => layers.reduce((total, layer) => total + layer[key], 0);
  return (
    `${layers.length} ${layers.length === 1 ? "layer" : "layers"}; ` +
    `${megabytes(sum("fetched"))} of ${megabytes(sum("size"))} fetched, the rest was here`
  );
}

function toJson(result: PullResult): object {
  return {
    name: result.name,
    manifest_digest: result.manifestDigest,
    config_digest: result.configDigest,
    manifest_verity: result.manifestVerity,
    image: result.image ?? null,
    boot_image: result.bootImage ?? null,
    layers: result.layers.map(({ digest, size, present, fetched }) => ({
      digest,
      size,
      reused: present,
      fetched,
    })),
    stats: {
      objects_stored: result.stats.objectsStored,
      bytes_stored: result.stats.bytesStored,
      objects_existing: result.stats.objectsExisting,
      bytes_existing: result.stats.bytesExisting,
      bytes_inline: result.stats.bytesInline,
      objects_reflinked: result.stats.objectsReflinked,
      objects_hardlinked: result.stats.objectsHardlinked,
    },
  };
}

function parseBoolean(text: string): boolean {
  if (text === "true" || text === "false") return text === "true";
  throw new InvalidArgumentError("true or false expected.");
}

/** What the user typed is wrong, if `parse` throws. */
function usage<T>(parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    const { message, cause } = error as Error;
    throw new UsageError(message, { cause });
  }
}
