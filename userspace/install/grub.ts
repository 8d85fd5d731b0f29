/**
 * Puts GRUB on a disk that boots by UEFI: one program with all that it needs in it, made by grub-mkimage(1), which finds its
 * configuration by the UUID of the file system with `/boot`. So nothing needs to be mounted for it.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { GRUB_CONFIG_MARK, grubConfig } from "../../src/formats/grub-config.ts";
import { newGrubEnv, serializeGrubEnv } from "../../src/formats/grubenv.ts";
import {
  createIfMissing,
  ifThere,
  makeDirectories,
  withDirectory,
} from "../../src/linux/directories.ts";
import { readFile } from "../../src/linux/files.ts";
import { HintedError } from "../../src/linux/hint.ts";
import type { Fd, Linux } from "../../src/linux/linux.ts";
import { architectureOf } from "../../src/model/disk-layout.ts";
import type { EfiProgram } from "./efi-program.ts";
import { runProgram } from "./programs.ts";

/** Names of GRUB's platforms. */
const PLATFORMS: Readonly<Record<string, string>> = {
  "386": "i386-efi",
  amd64: "x86_64-efi",
  arm: "arm-efi",
  arm64: "arm64-efi",
  loong64: "loongarch64-efi",
  riscv64: "riscv64-efi",
};

/** What it may need to find, show and boot the menu. */
const MODULES =
  "all_video boot btrfs cat configfile echo ext2 fat gfxterm halt linux loadenv ls minicmd normal part_gpt part_msdos " +
  "reboot search search_fs_uuid search_label serial sleep terminal test true xfs";
/** What is in no other GRUB. No comment: the parser for this configuration knows none, and complains on the screen. */
export const EARLY_MARK = "set cfsboot_finds=the_configuration_of_GRUB";
const MENU_TIMEOUT = 5;
/** Below `/boot`. */
const DIRECTORY = "grub";
const DIRECTORY_MODE = 0o755;
const FILE_MODE = 0o600;

/** Where GRUB finds `/boot`. */
export interface GrubPlace {
  /** Of the file system. */
  readonly uuid: string;
  /** Whether that is one of its own. */
  readonly separateBoot: boolean;
  /** The name of the configuration there; absent: the usual one. */
  readonly config?: string;
}

/** In `DIRECTORY`, and what ours is called where another system has one. */
const CONFIG = "grub.cfg";
const CONFIG_BESIDE = "cfsboot.cfg";
const MAX_CONFIG = 1 << 20;

/** The place, with a name for the configuration that takes nothing from another system, whose GRUB has one in `boot`. */
export function besideOthers(linux: Linux, boot: Fd, place: GrubPlace): GrubPlace {
  const there = ifThere(() => readFile(linux, boot, `${DIRECTORY}/${CONFIG}`, MAX_CONFIG));
  const foreign = there !== undefined && !Buffer.from(there).includes(GRUB_CONFIG_MARK);
  return foreign ? { ...place, config: CONFIG_BESIDE } : place;
}

/** What leads a program of GRUB to its configuration. */
export function earlyConfig(place: GrubPlace): string {
  const lines = [
    EARLY_MARK,
    `search --no-floppy --fs-uuid --set=root ${place.uuid}`,
    `set prefix=($root)${directoryOf(place)}`,
    `configfile $prefix/${place.config ?? CONFIG}`,
  ];
  return lines.map((line) => `${line}\n`).join("");
}

function directoryOf({ separateBoot }: GrubPlace): string {
  return separateBoot ? `/${DIRECTORY}` : `/boot/${DIRECTORY}`;
}

/** Makes the program. Throws if GRUB's tools or modules for the architecture are missing. */
export function makeGrub(place: GrubPlace, architecture: string): EfiProgram {
  const platform = PLATFORMS[architecture];
  if (platform === undefined) throw new Error(`there is no GRUB for ${architecture}`);
  const { efi } = architectureOf(architecture);
  const work = mkdtempSync(join(tmpdir(), "cfsboot-grub-"));
  try {
    const [config, output] = [join(work, "early.cfg"), join(work, "grub.efi")];
    writeFileSync(config, earlyConfig(place));
    const files = ["--config", config, "--output", output];
    const target = ["--format", platform, "--prefix", directoryOf(place)];
    runProgram("grub-mkimage", [...target, ...files, ...MODULES.split(" ")]);
    const name = `grub${efi}.efi`;
    const program = readFileSync(output);
    return {
      path: `cfsboot/${name}`,
      fallback: `BOOT${efi.toUpperCase()}.EFI`,
      program,
      mark: EARLY_MARK,
    };
  } catch (error) {
    throw new HintedError(
      `make GRUB for ${platform}`,
      "in Debian it is in the packages grub-common and grub-efi-amd64-bin (or that of the architecture)",
      { cause: error },
    );
  } finally {
    rmSync(work, { recursive: true });
  }
}

/** Writes the configuration and the environment block, unless there are some. */
export function writeGrubConfig(linux: Linux, boot: Fd, place: GrubPlace): void {
  makeDirectories(linux, boot, DIRECTORY, DIRECTORY_MODE);
  withDirectory(linux, boot, DIRECTORY, (directory) => {
    const config = Buffer.from(grubConfig({ ...place, timeout: MENU_TIMEOUT }));
    createIfMissing(linux, directory, place.config ?? CONFIG, config, FILE_MODE);
    createIfMissing(linux, directory, "grubenv", serializeGrubEnv(newGrubEnv()), FILE_MODE);
  });
}
