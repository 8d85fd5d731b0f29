/** `cfsboot install to-filesystem` and `cfsboot install to-existing-root` */
import { readFileSync } from "node:fs";
import { type Command, InvalidArgumentError, Option } from "commander";
import { addExamples } from "./example.ts";
import {
  announce,
  conclude,
  type ImageFlags,
  imageOptions,
  planFirmware,
  platformOf,
  steps,
  withImage,
} from "./install-image.ts";
import { Report } from "./report.ts";

interface Flags extends ImageFlags {
  readonly esp?: string;
  readonly rootMountSpec?: string;
  readonly bootMountSpec?: string;
  readonly replace?: "alongside";
  readonly skipFinalize?: boolean;
  readonly allowMissingVerity: boolean;
}

export function registerToFilesystem(install: Command): void {
  const command = install
    .command("to-filesystem")
    .description("install an image into file systems that are made and mounted")
    .argument("<root>", "the directory on which the root is mounted")
    .addOption(
      new Option("--replace <how>", "alongside: beside what is there").argParser(parseReplace),
    )
    .option("--skip-finalize", "neither trim the file systems nor freeze them at the end")
    .action((root: string, flags: Flags) =>
      toMounted(root, flags, flags.replace === "alongside", undefined),
    );
  imageOptions(mountOptions(command));
  addExamples(
    command,
    "cfsboot install to-filesystem --source-imgref docker://registry.example/os:13 /mnt",
  );
}

function parseReplace(how: string): "alongside" {
  if (how === "alongside") return how;
  throw new InvalidArgumentError(
    "Expected alongside: nothing is removed from a file system. Make a new one instead.",
  );
}

export function registerToExistingRoot(install: Command): void {
  const command = install
    .command("to-existing-root")
    .description("install an image beside the system that is there, which its boot loader keeps")
    .argument("[root]", "the directory on which its root is mounted", "/target")
    .action((root: string, flags: Flags) =>
      toMounted(root, flags, true, readFileSync("/proc/cmdline", "utf8").trim()),
    );
  imageOptions(mountOptions(command));
  addExamples(
    command,
    "cfsboot install to-existing-root --source-imgref docker://registry.example/os:13 /",
  );
}

function mountOptions(command: Command): Command {
  return command
    .option("--esp <directory>", "on which the EFI system partition is mounted")
    .option("--root-mount-spec <spec>", "what root= says; empty: no root= (default: the UUID)")
    .option("--boot-mount-spec <spec>", "the same of a separate /boot, for GRUB")
    .option("--allow-missing-verity", "do without fs-verity: the kernel checks nothing", false);
}

async function toMounted(
  root: string,
  flags: Flags,
  alongside: boolean,
  inherited: string | undefined,
): Promise<void> {
  const { readInstallConfig } = await import("../install/settings.ts");
  const { planMounted } = await import("../install/mounted-plan.ts");
  const { mountedSteps } = await import("../install/install-steps.ts");
  const { sourceOf } = await import("../deployment/references.ts");
  const { installMounted } = await import("../install/mounted.ts");
  const { Interruption } = await import("../install/interruption.ts");
  const config = readInstallConfig(platformOf(flags).architecture);
  const { esp, bootMountSpec, allowMissingVerity } = flags;
  const { linux } = await import("../linux.ts");
  const plan = planMounted(linux, {
    ...{ root, esp, alongside, inherited, bootMountSpec, insecure: allowMissingVerity },
    bootLoader: flags.bootloader ?? config.bootLoader ?? "systemd",
    kargs: [...config.kargs, ...flags.karg],
    rootMountSpec: flags.rootMountSpec ?? config.rootMountSpec,
  });
  await withImage(flags, config, async (request) => {
    const out = new Report(flags);
    const { bootLoader, kargs, espDevice } = plan;
    const firmware = espDevice !== undefined && planFirmware(flags, bootLoader, espDevice);
    const follows = sourceOf(request.follow);
    const done = (id: string | null) => mountedSteps(plan, { id, follows, firmware });
    announce(out, done(null), plan);
    if (flags.dryRun) return conclude(out, request, done, undefined, plan.root);
    const { rootFileSystem } = plan;
    const wanted = { ...request, firmware, bootLoader, kargs, rootFileSystem };
    const finish = flags.skipFinalize !== true;
    using interruption = new Interruption();
    const stoppable = interruption.stops(wanted);
    const made = await installMounted(linux, plan, stoppable, finish, steps(flags));
    return conclude(out, request, done, made, `into ${plan.root}`);
  });
}
