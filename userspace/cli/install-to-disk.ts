/** `cfsboot install to-disk` */
import { statSync } from "node:fs";
import { type Command, Option } from "commander";
import { parseByteSize } from "../../src/formats/byte-size.ts";
import { FILE_SYSTEMS, type FileSystem } from "../../src/formats/install-toml.ts";
import { DEFAULT_ESP_SIZE } from "../../src/model/disk-layout.ts";
import { UsageError } from "./errors.ts";
import { addExamples } from "./example.ts";
import {
  argument,
  type ImageFlags,
  imageOptions,
  platformOf,
  print,
  report,
  steps,
  withImage,
} from "./install-image.ts";

const DEFAULT_FILE_SIZE = 10 * 2 ** 30;
const FILE_SECTOR = 512;

interface Flags extends ImageFlags {
  readonly wipe: boolean;
  readonly filesystem?: FileSystem;
  readonly espSize: number;
  readonly xbootldr?: number;
  readonly rootSize?: number;
  readonly size?: number;
  readonly viaLoopback: boolean;
  readonly allowMissingVerity: boolean;
}

export function registerToDisk(install: Command): void {
  const command = install
    .command("to-disk")
    .description("divide a disk, or a file that becomes one, and install an image there")
    .argument("<device>", "the disk, or a file: one that is not there is made")
    .option("--wipe", "destroy what is there", false)
    .addOption(
      new Option(
        "--filesystem <type>",
        "of the root (default: ext4); xfs does without fs-verity",
      ).choices(FILE_SYSTEMS),
    )
    .addOption(
      size("--esp-size <size>", "of the EFI system partition").default(DEFAULT_ESP_SIZE, "1G"),
    )
    .addOption(size("--xbootldr <size>", "make an extended boot loader partition, for kernels"))
    .addOption(size("--root-size <size>", "of the root partition (default: all that is left)"))
    .addOption(size("--size <size>", "of a file (default: as it is, a new one 10G)"))
    .option("--allow-missing-verity", "do without fs-verity: the kernel checks nothing", false)
    .option(
      "--via-loopback",
      "work on a file as on a disk, with fs-verity at once; needs root",
      false,
    )
    .action(toDisk);
  imageOptions(command);
  addExamples(
    command,
    "cfsboot install to-disk --source-imgref docker://registry.example/os:13 /dev/vda",
    "cfsboot install to-disk --source-imgref oci:./os:13 --target-imgref registry.example/os:13 --generic-image --size 8G disk.raw",
  );
}

function size(flags: string, description: string): Option {
  return new Option(flags, description).argParser(argument(parseByteSize));
}

async function toDisk(path: string, flags: Flags): Promise<void> {
  const { readInstallConfig } = await import("../install/settings.ts");
  const { planDisk, describeDisk } = await import("../install/disk-plan.ts");
  const { requireBlank } = await import("../install/signatures.ts");
  const { architecture } = platformOf(flags);
  const config = readInstallConfig(architecture);
  const disk = await diskAt(path, flags);
  if (disk.offline) {
    const { runAsRoot } = await import("../install/user-namespace.ts");
    const status = runAsRoot(process.geteuid?.() ?? 0);
    if (status !== undefined) process.exit(status); // it has said everything
  }
  if (!disk.missing) requireBlank(path, flags.wipe);
  const fileSystem = flags.filesystem ?? config.fileSystem ?? "ext4";
  if (disk.offline && fileSystem !== "ext4") {
    throw new UsageError(`${fileSystem} in a file needs --via-loopback`);
  }
  const bootLoader = flags.bootloader ?? config.bootLoader ?? "systemd";
  const plan = planDisk({
    ...{ path, architecture, fileSystem, espSize: flags.espSize },
    ...(flags.xbootldr !== undefined && { xbootldrSize: flags.xbootldr }),
    ...(flags.rootSize !== undefined && { rootSize: flags.rootSize }),
    ...{ diskSize: disk.size, sectorSize: disk.sectorSize, sealedLater: disk.offline },
    insecure: flags.allowMissingVerity,
    bootLoader,
    kargs: [...config.kargs, ...flags.karg],
    // systemd-boot tells which disk it came from; other loaders do not
    discoverable: config.discoverable ?? bootLoader === "systemd",
    rootMountSpec: config.rootMountSpec,
  });
  await withImage(flags, config, async (request) => {
    print(describeDisk(plan));
    if (flags.dryRun) return;
    const wanted = { ...request, bootLoader: plan.bootLoader, kargs: plan.kargs };
    const { linux } = await import("../linux.ts");
    report(await disk.install(linux, plan, wanted, steps(flags)), `on ${path}`);
  });
}

interface Disk {
  readonly size: number;
  readonly sectorSize: number;
  readonly missing: boolean;
  /** Whether it is a file that is written as a whole. */
  readonly offline: boolean;
  readonly install: typeof import("../install/disk.ts").installOnDisk;
}

async function diskAt(path: string, { size: wished, viaLoopback }: Flags): Promise<Disk> {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat?.isBlockDevice()) {
    if (wished !== undefined) throw new UsageError(`--size is for files, ${path} is a disk`);
    if (viaLoopback) throw new UsageError(`--via-loopback is for files, ${path} is a disk`);
    const { installOnDisk, measureDevice } = await import("../install/disk.ts");
    return { ...measureDevice(path), missing: false, offline: false, install: installOnDisk };
  }
  if (stat !== undefined && !stat.isFile()) {
    throw new UsageError(`${path}: expected a disk, or a file`);
  }
  const { installOffline } = await import("../install/offline.ts");
  const { installByLoop } = await import("../install/loop.ts");
  return {
    size: wished ?? (stat?.size || DEFAULT_FILE_SIZE),
    sectorSize: FILE_SECTOR,
    missing: stat === undefined,
    offline: !viaLoopback,
    install: viaLoopback ? installByLoop : installOffline,
  };
}
