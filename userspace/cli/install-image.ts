/** What the ways to install share: which image, and what is said about the machine. */
import { type Command, InvalidArgumentError, Option } from "commander";
import {
  BOOT_LOADERS,
  type BootLoader,
  type InstallConfig,
} from "../../src/formats/install-toml.ts";
import { parseKargs } from "../../src/formats/kargs.ts";
import { type ImagePlatform, parsePlatform } from "../../src/formats/oci.ts";
import { TRANSPORTS, type Transport as TransportName } from "../../src/formats/origin.ts";
import { type InstallStep, installText } from "../../src/model/install-steps.ts";
import type { StagePlan } from "../deployment/stage.ts";
import type { Wanted } from "../install/contents.ts";
import { hasFirmware, isFound } from "../install/firmware.ts";
import { deletesOf, requireDeletable } from "../install/settings.ts";
import { currentPlatform } from "../oci/platform.ts";
import { readAuthorizedKeys } from "./authorized-keys.ts";
import { UsageError } from "./errors.ts";
import { dryRunOption } from "./machine.ts";
import { openTransport, type RegistryFlags, registryOptions } from "./pull.ts";
import { jsonOption, type Report } from "./report.ts";

export interface ImageFlags extends RegistryFlags {
  readonly sourceImgref: string;
  readonly targetImgref?: string;
  readonly targetTransport?: TransportName;
  readonly platform?: ImagePlatform;
  readonly karg: readonly string[];
  readonly kargDelete: readonly string[];
  readonly rootSshAuthorizedKeys?: string;
  readonly genericImage: boolean;
  readonly bootloader?: BootLoader;
  readonly force: boolean;
  readonly quiet: boolean;
  readonly dryRun: boolean;
  readonly json: boolean;
}

/** Adds the options of `ImageFlags`. */
export function imageOptions(command: Command): Command {
  command
    .requiredOption("--source-imgref <image>", "the image, docker://… or another reference")
    .option("--target-imgref <image>", "what upgrades follow (default: the same)")
    .addOption(
      new Option("--target-transport <transport>", "what --target-imgref is a name of").choices(
        TRANSPORTS,
      ),
    )
    .addOption(
      new Option(
        "--platform <os/architecture>",
        "of which machines (default: of this one)",
      ).argParser(argument(parsePlatform)),
    )
    .addOption(
      kargOption(
        "--karg <argument>",
        "a kernel argument, besides the image's own; may be repeated",
      ),
    )
    .addOption(
      kargOption(
        "--karg-delete <argument>",
        "a kernel argument, or the name of some, that is left out; may be repeated",
      ),
    )
    .option("--root-ssh-authorized-keys <file>", "SSH keys that log in as root")
    .option(
      "--generic-image",
      "for many machines: each makes its own identity at its first boot",
      false,
    )
    .addOption(
      new Option("--bootloader <name>", "the boot loader (default: systemd)").choices(BOOT_LOADERS),
    )
    .option("--force", "even if the image would not come up, as far as can be told", false)
    .option("--quiet", "show no progress", false)
    .addOption(dryRunOption())
    .addOption(jsonOption());
  return registryOptions(command);
}

function kargOption(flags: string, description: string): Option {
  return new Option(flags, description)
    .default([], "none")
    .argParser((text: string, others: readonly string[]) => [
      ...others,
      ...argument(parseKargs)(text),
    ]);
}

/** For an option's value: what `parse` throws is wrong usage. */
export function argument<T>(parse: (text: string) => T): (text: string) => T {
  return (text) => {
    try {
      return parse(text);
    } catch (error) {
      throw new InvalidArgumentError((error as Error).message);
    }
  };
}

/** What a plan needs to know; `kargs` are added to those that it makes. */
export type Request = Omit<Wanted, "bootLoader" | "kargs" | "rootFileSystem" | "firmware" | "goOn">;

/** Looks the image up, and calls `use` with what shall be installed. */
export async function withImage<T>(
  flags: ImageFlags,
  config: InstallConfig,
  use: (request: Request) => Promise<T>,
): Promise<T> {
  const { parseTarget, sourceOf } = await import("../deployment/references.ts");
  const { lookUp } = await import("../deployment/upgrade.ts");
  const { parseReference } = await import("../oci/reference.ts");
  const { terminalProgress } = await import("./pull-progress.ts");
  const target = (text: string, transport: TransportName | undefined) => {
    try {
      return parseTarget(text, transport);
    } catch (error) {
      const { message, cause } = error as Error;
      throw new UsageError(message, { cause });
    }
  };
  const source = target(flags.sourceImgref, undefined);
  const { targetImgref, targetTransport, rootSshAuthorizedKeys } = flags;
  if (targetTransport !== undefined && targetImgref === undefined) {
    throw new UsageError("--target-transport needs --target-imgref");
  }
  const follow = targetImgref === undefined ? source : target(targetImgref, targetTransport);
  const rootKeys =
    rootSshAuthorizedKeys === undefined ? undefined : readAuthorizedKeys(rootSshAuthorizedKeys);
  const platform = platformOf(flags);
  const kargDeletes = [...deletesOf(config, flags.karg), ...flags.kargDelete];
  requireDeletable(kargDeletes);
  const request = {
    ...{ platform, source, follow, rootKeys, kargDeletes, askedKargs: flags.karg },
    generic: flags.genericImage,
    force: flags.force,
    progress: process.stderr.isTTY && !flags.quiet ? terminalProgress : undefined,
  };
  try {
    const transport = await openTransport(parseReference(sourceOf(source)), flags, platform);
    try {
      const remote = await lookUp(transport, platform);
      return await use({ ...request, transport, remote });
    } finally {
      await transport.close();
    }
  } catch (error) {
    throw new Error(`install ${sourceOf(source)}`, { cause: error });
  }
}

/** Of the machines that it is for. */
export function platformOf({ platform }: ImageFlags): ImagePlatform {
  return platform ?? currentPlatform();
}

/** Whether the firmware is told about the boot loader on a device: if that is one of this machine, and for this machine. */
export function planFirmware(flags: ImageFlags, bootLoader: BootLoader, device: string): boolean {
  const { architecture } = platformOf(flags);
  const foreign = architecture !== currentPlatform().architecture;
  return (
    !flags.genericImage && bootLoader !== "none" && !foreign && hasFirmware() && isFound(device)
  );
}

/** Says what will be done. */
export function announce(
  out: Report,
  steps: readonly InstallStep[],
  { remarks }: { readonly remarks: readonly string[] },
): void {
  out.say([...installText(steps), ...remarks.map((remark) => `note: ${remark}`)]);
}

/** Tells on the way what is being done. */
export function steps({ quiet }: ImageFlags): (step: string) => void {
  return quiet ? () => {} : (step) => process.stderr.write(`${step}\n`);
}

/**
 * Tells what was installed (`made`; absent: of a dry run), and what speaks against it, if it was forced or is no certain harm.
 */
export async function conclude(
  out: Report,
  { remote, follow, platform }: Request,
  done: (id: string | null) => readonly InstallStep[],
  made: StagePlan | undefined,
  where: string,
): Promise<void> {
  const { remoteImageStatus } = await import("./staging-steps.ts");
  const id = made?.id ?? null;
  for (const { message } of made?.findings ?? []) {
    process.stderr.write(`cfsboot: warning: ${message}\n`);
  }
  if (made !== undefined) out.say([`Installed ${made.id.slice(0, 12)} ${where}`]);
  out.note(done(id));
  const image = remoteImageStatus(remote, follow, platform);
  return out.end({ deployments: [{ id, slot: "other", image }] });
}
