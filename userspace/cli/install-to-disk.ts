/** `cfsboot install to-disk` */
import { realpathSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { type Command, Option } from "commander";
import { parseByteSize } from "../../src/formats/byte-size.ts";
import { type BootLoader, FILE_SYSTEMS, type FileSystem } from "../../src/formats/install-toml.ts";
import { HintedError } from "../../src/linux/hint.ts";
import { DEFAULT_ESP_SIZE } from "../../src/model/disk-layout.ts";
import { ENCRYPTIONS, type Opener } from "../../src/model/encryption.ts";
import type { DiskPlan } from "../install/disk-plan.ts";
import type { Unlocking } from "../install/luks.ts";
import { UsageError } from "./errors.ts";
import { addExamples } from "./example.ts";
import {
  announce,
  argument,
  conclude,
  type ImageFlags,
  imageOptions,
  planFirmware,
  platformOf,
  steps,
  withImage,
} from "./install-image.ts";
import { Report } from "./report.ts";

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
  readonly encrypt?: "none" | Opener;
  readonly blockSetup?: "direct" | "tpm2-luks";
  readonly passphraseFile?: string;
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
    .addOption(
      new Option(
        "--root-size <size>",
        "of the root partition; without a unit in MiB, as in bootc (default: all that is left)",
      ).argParser(argument(parseRootSize)),
    )
    .addOption(size("--size <size>", "of a file (default: as it is, a new one 10G)"))
    .addOption(
      new Option("--encrypt <how>", "encrypt the root; what opens it (default: none)")
        .choices(["none", ...ENCRYPTIONS])
        .conflicts("blockSetup"),
    )
    .addOption(
      new Option("--block-setup <how>", "the same, as bootc says it").choices([
        "direct",
        "tpm2-luks",
      ]),
    )
    .option("--passphrase-file <file>", "has the passphrase (default: it is asked for)")
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
    "cfsboot install to-disk --source-imgref docker://registry.example/os:13 --encrypt tpm2 /dev/vda",
    "cfsboot install to-disk --source-imgref docker://registry.example/os:13 --dry-run --json /dev/vda",
    "cfsboot install to-disk --source-imgref oci:./os:13 --target-imgref registry.example/os:13 --generic-image --size 8G disk.raw",
  );
}

function size(flags: string, description: string): Option {
  return new Option(flags, description).argParser(argument(parseByteSize));
}

function parseRootSize(text: string): number {
  return parseByteSize(/^[0-9]+$/.test(text) ? `${text}M` : text);
}

async function toDisk(named: string, flags: Flags): Promise<void> {
  const { readInstallConfig } = await import("../install/settings.ts");
  const { planDisk } = await import("../install/disk-plan.ts");
  const { programsOf } = await import("../install/file-systems.ts");
  const { requirePrograms } = await import("../install/programs.ts");
  const { requireDiskRoom } = await import("../install/room.ts");
  const { requireBlank } = await import("../install/signatures.ts");
  const { diskSteps } = await import("../install/install-steps.ts");
  const { sourceOf } = await import("../deployment/references.ts");
  const { architecture } = platformOf(flags);
  const opener = openerOf(flags);
  const config = readInstallConfig(architecture);
  const disk = await diskAt(named, flags);
  const { path } = disk;
  if (disk.offline) {
    const { runAsRoot } = await import("../install/user-namespace.ts");
    const status = await runAsRoot(process.geteuid?.() ?? 0);
    if (status !== undefined) process.exit(status); // it has said everything
  }
  if (!disk.missing && !flags.wipe) requireBlank(path, !disk.real);
  const fileSystem = flags.filesystem ?? config.fileSystem ?? "ext4";
  if (disk.offline && fileSystem !== "ext4") {
    throw new UsageError(`${fileSystem} in a file needs --via-loopback`);
  }
  const bootLoader = flags.bootloader ?? config.bootLoader ?? "systemd";
  if (opener !== undefined) await requireOpener(opener, bootLoader, disk, flags);
  const plan = planDisk({
    ...{ path, architecture, fileSystem, espSize: flags.espSize },
    ...(flags.xbootldr !== undefined && { xbootldrSize: flags.xbootldr }),
    ...(flags.rootSize !== undefined && { rootSize: flags.rootSize }),
    ...{ diskSize: disk.size, sectorSize: disk.sectorSize, sealedLater: disk.offline },
    growsLater: !disk.real && flags.rootSize === undefined,
    insecure: flags.allowMissingVerity,
    bootLoader,
    kargs: [...config.kargs, ...flags.karg],
    opener,
    // systemd-boot tells which disk it came from; other loaders do not. It is not waited for as long as it takes to type
    discoverable: config.discoverable ?? (bootLoader === "systemd" && opener === undefined),
    rootMountSpec: config.rootMountSpec,
  });
  requirePrograms([...disk.programs, ...programsOf(plan)]);
  await withImage(flags, config, async (request) => {
    const out = new Report(flags);
    const recoveryKeys: string[] = [];
    const firmware = disk.real && planFirmware(flags, bootLoader, path);
    const follows = sourceOf(request.follow);
    const done = (id: string | null) =>
      diskSteps(plan, { id, follows, firmware, recoveryKey: recoveryKeys[0] });
    announce(out, done(null), plan);
    const { layers } = request.remote.resolved.manifest;
    requireDiskRoom(
      plan,
      layers.reduce((sum, layer) => sum + layer.size, 0),
    );
    if (flags.dryRun) return conclude(out, request, done, undefined, named);
    const wanted = {
      ...{ ...request, firmware, bootLoader, kargs: plan.kargs },
      rootFileSystem: plan.root.fileSystem,
    };
    const unlocking = await unlockingOf(plan, flags, disk, (key) => {
      recoveryKeys.push(key);
      out.say([`Recovery key, which opens ${path} without the TPM and is shown only now: ${key}`]);
    });
    const { linux } = await import("../linux.ts");
    const { Interruption } = await import("../install/interruption.ts");
    using interruption = new Interruption();
    const stoppable = interruption.stops(wanted);
    const made = await disk.install(linux, plan, stoppable, steps(flags), unlocking);
    return conclude(out, request, done, made, `on ${named}`);
  });
}

function openerOf({ encrypt, blockSetup, passphraseFile }: Flags): Opener | undefined {
  const opener = blockSetup === "tpm2-luks" ? "tpm2" : encrypt;
  if (opener !== undefined && opener !== "none") return opener;
  if (passphraseFile !== undefined) throw new UsageError("--passphrase-file needs --encrypt");
  return undefined;
}

async function requireOpener(
  opener: Opener,
  bootLoader: BootLoader,
  { real }: Disk,
  { genericImage }: Flags,
): Promise<void> {
  if (bootLoader === "grub") {
    throw new UsageError(
      "--encrypt needs systemd-boot: GRUB's kernels and menu are on the root, which it cannot open",
    );
  }
  if (opener !== "tpm2") return;
  if (genericImage) {
    throw new UsageError(
      "--generic-image is for many machines, and a TPM that opens the root in one",
    );
  }
  if (!real) {
    throw new UsageError(
      "--encrypt tpm2 is for disks of this machine, whose TPM shall open it: for a file use --encrypt passphrase, and systemd-cryptenroll(1) on the machine that it boots",
    );
  }
  const { requireTpm } = await import("../install/luks.ts");
  requireTpm();
}

/** Asks for a passphrase where there shall be one. */
async function unlockingOf(
  { encryption, path }: DiskPlan,
  { passphraseFile }: Flags,
  { real }: Disk,
  recoveryKey: (key: string) => void,
): Promise<Unlocking> {
  const { readPassphrase, askPassphrase } = await import("./passphrase.ts");
  let passphrase: Uint8Array | undefined;
  if (passphraseFile !== undefined) passphrase = readPassphrase(passphraseFile);
  else if (encryption?.opener === "passphrase") passphrase = await askPassphrase(path);
  return {
    passphrase,
    portable: !real,
    recoveryKey,
  };
}

interface Disk {
  /** Not a link to it. */
  readonly path: string;
  readonly size: number;
  readonly sectorSize: number;
  readonly missing: boolean;
  /** Whether it is not a file. */
  readonly real: boolean;
  /** Whether it is a file that is written as a whole. */
  readonly offline: boolean;
  /** What it takes beside the programs that make file systems. */
  readonly programs: readonly string[];
  readonly install: typeof import("../install/disk.ts").installOnDisk;
}

async function diskAt(path: string, { size: wished, viaLoopback }: Flags): Promise<Disk> {
  if (path === "") throw new UsageError("the name of the disk, or of the file, is empty");
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat?.isBlockDevice()) {
    if (wished !== undefined) throw new UsageError(`--size is for files, ${path} is a disk`);
    if (viaLoopback) throw new UsageError(`--via-loopback is for files, ${path} is a disk`);
    const { installOnDisk } = await import("../install/disk.ts");
    const { examineDisk } = await import("../install/disk-devices.ts");
    const { linux } = await import("../linux.ts");
    const kind = { missing: false, real: true, offline: false, programs: ["wipefs"] };
    return { ...examineDisk(linux, path), ...kind, install: installOnDisk };
  }
  if (stat !== undefined && !stat.isFile()) {
    throw new UsageError(`${path}: expected a disk, or a file`);
  }
  // a file there is in memory, and whoever names one meant a disk
  if (stat === undefined && /^\/dev\/(?!shm\/)/.test(resolve(path))) {
    throw new HintedError(`${path}: there is no such disk`, "lsblk lists those that there are");
  }
  const file = {
    path: stat === undefined ? path : realpathSync(path),
    size: wished ?? (stat?.size || DEFAULT_FILE_SIZE),
    sectorSize: FILE_SECTOR,
    missing: stat === undefined,
    real: false,
  };
  if (viaLoopback) {
    const { installByLoop, requireDetached } = await import("../install/loop.ts");
    requireDetached(file.path);
    return { ...file, offline: false, programs: ["losetup"], install: installByLoop };
  }
  const { installOffline } = await import("../install/offline.ts");
  return { ...file, offline: true, programs: ["mcopy", "debugfs"], install: installOffline };
}
