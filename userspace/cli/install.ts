/** `cfsboot install` */
import type { Command } from "commander";
import { registerFinalize } from "./install-finalize.ts";
import { registerGrow } from "./install-grow.ts";
import { registerMount } from "./install-mount.ts";
import { registerToExistingRoot, registerToFilesystem } from "./install-mounted.ts";
import { registerPrintConfiguration } from "./install-print-configuration.ts";
import { registerSeal } from "./install-seal.ts";
import { registerToDisk } from "./install-to-disk.ts";

export function register(program: Command): void {
  const install = program
    .command("install")
    .description("put an image on a disk, or into file systems, so that a machine boots it");
  registerToDisk(install);
  registerToFilesystem(install);
  registerToExistingRoot(install);
  registerMount(install);
  registerFinalize(install);
  registerPrintConfiguration(install);
  registerSeal(install);
  registerGrow(install);
}
