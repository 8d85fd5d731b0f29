/** `cfsboot install print-configuration`, for installers that ask bootc for it */
import type { Command } from "commander";
import { addExamples } from "./example.ts";

interface Flags {
  readonly all: boolean;
}

export function registerPrintConfiguration(install: Command): void {
  const command = install
    .command("print-configuration")
    .description("print what is configured about installations, as JSON")
    .option("--all", "also what installing does by itself: kernel arguments", false)
    .action(printConfiguration);
  addExamples(command, "cfsboot install print-configuration --all");
}

/** The keys are those of the files, as bootc prints them; what is not configured is null. */
async function printConfiguration({ all }: Flags): Promise<void> {
  const { readInstallConfig } = await import("../install/settings.ts");
  const { currentPlatform } = await import("../oci/platform.ts");
  const config = readInstallConfig(currentPlatform().architecture);
  const { fileSystem = null, bootLoader = null, kargs, kargDeletes } = config;
  const document = {
    bootloader: bootLoader,
    "discoverable-partitions": config.discoverable ?? null,
    filesystem: fileSystem === null ? null : { root: { type: fileSystem } },
    ...(all && kargDeletes.length > 0 && { "karg-deletes": kargDeletes }),
    ...(all && kargs.length > 0 && { kargs }),
    "root-fs-type": fileSystem,
    "root-mount-spec": config.rootMountSpec ?? null,
  };
  process.stdout.write(`${JSON.stringify(document)}\n`);
}
