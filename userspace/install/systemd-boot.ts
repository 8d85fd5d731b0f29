/** Puts systemd-boot on an EFI system partition: what `bootctl install` does, but without the firmware's variables. */
import { readFileSync } from "node:fs";
import type { Tree } from "../../src/formats/tree.ts";
import { createIfMissing, makeDirectories, withDirectory } from "../../src/linux/directories.ts";
import { HintedError } from "../../src/linux/hint.ts";
import type { Fd, Linux } from "../../src/linux/linux.ts";
import { findFile } from "../../src/model/boot-resources.ts";
import { architectureOf } from "../../src/model/disk-layout.ts";
import { DIRECTORY_MODE, FILE_MODE } from "../bootloader/boot-place.ts";
import { makeRoom } from "../bootloader/directory-room.ts";
import { readContent } from "../deployment/image-content.ts";
import type { Repository } from "../repository/repository.ts";
import { type EfiProgram, writeEfiProgram } from "./efi-program.ts";

const DIRECTORY = "usr/lib/systemd/boot/efi";
const MAX_PROGRAM = 64 << 20;
/** What the program has in its section `.sdmagic`. */
const LOADER_MARK = "#### LoaderInfo: systemd-boot ";
const SEED_SIZE = 32;
const MENU_TIMEOUT = "timeout 5\n";
const SEED_MODE = 0o600;

export interface SystemdBoot extends EfiProgram {
  /** Where it comes from. */
  readonly source: "image" | "host";
}

/** The image's systemd-boot, a signed one first; else this system's. Throws if there is none. */
export function findSystemdBoot(
  repository: Repository,
  tree: Tree,
  architecture: string,
): SystemdBoot {
  const { efi } = architectureOf(architecture);
  const name = `systemd-boot${efi}.efi`;
  const found = (program: Uint8Array, source: SystemdBoot["source"]): SystemdBoot => ({
    ...{ path: `systemd/${name}`, fallback: `BOOT${efi.toUpperCase()}.EFI` },
    ...{ program, source, mark: LOADER_MARK },
  });
  for (const file of [`${name}.signed`, name]) {
    const content = findFile(tree, [...DIRECTORY.split("/"), file]);
    if (content === undefined) continue;
    return found(readContent(repository, content, MAX_PROGRAM), "image");
  }
  for (const file of [`${name}.signed`, name]) {
    try {
      return found(readFileSync(`/${DIRECTORY}/${file}`), "host");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }
  throw new HintedError(
    `neither the image nor this system has /${DIRECTORY}/${name}`,
    "in Debian it is in the package systemd-boot-efi; --bootloader none leaves the boot loader to you",
  );
}

/**
 * Writes the boot loader where firmware finds it by itself (`EFI/BOOT`), and where `bootctl update` does; a short menu unless
 * there is a configuration; and, unless it is for many machines, a random seed.
 *
 * The program comes last: without it the firmware boots what it booted before. Returns false if another boot loader is where
 * firmware looks by itself: that one stays.
 */
export function writeSystemdBoot(
  linux: Linux,
  esp: Fd,
  program: SystemdBoot,
  randomSeed: boolean,
): boolean {
  for (const directory of ["EFI/Linux", "loader"]) {
    makeDirectories(linux, esp, directory, DIRECTORY_MODE);
    withDirectory(linux, esp, directory, (fd) => makeRoom(linux, fd));
  }
  makeDirectories(linux, esp, "loader/entries", DIRECTORY_MODE);
  withDirectory(linux, esp, "loader", (loader) => {
    createIfMissing(linux, loader, "loader.conf", Buffer.from(MENU_TIMEOUT), FILE_MODE);
    createIfMissing(linux, loader, "entries.srel", Buffer.from("type1\n"), FILE_MODE);
    if (randomSeed) {
      createIfMissing(linux, loader, "random-seed", linux.getrandom(SEED_SIZE), SEED_MODE);
    }
  });
  return writeEfiProgram(linux, esp, program);
}
