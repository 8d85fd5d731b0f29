/** Boot loaders on an EFI system partition. */
import { makeDirectories, replaceFile, withDirectory } from "../../src/linux/directories.ts";
import { readFile } from "../../src/linux/files.ts";
import { type Fd, isErrno, type Linux } from "../../src/linux/linux.ts";
import { DIRECTORY_MODE, FILE_MODE } from "../bootloader/boot-place.ts";

const MAX_PROGRAM = 64 << 20;

export interface EfiProgram {
  /** Where it is kept, below `EFI`: `systemd/systemd-bootx64.efi`. */
  readonly path: string;
  /** What firmware looks for by itself: `BOOTX64.EFI`. */
  readonly fallback: string;
  readonly program: Uint8Array;
  /** What every program of this kind has in it: only such a one is replaced where firmware looks. */
  readonly mark: string;
}

/**
 * Writes it to its own directory, and then to where firmware finds it by itself, which makes it the one that boots. Returns
 * false if another boot loader is there: that one stays.
 */
export function writeEfiProgram(
  linux: Linux,
  esp: Fd,
  { path, fallback, program, mark }: EfiProgram,
): boolean {
  const [directory, name] = path.split("/") as [string, string];
  makeDirectories(linux, esp, `EFI/${directory}`, DIRECTORY_MODE);
  makeDirectories(linux, esp, "EFI/BOOT", DIRECTORY_MODE);
  withDirectory(linux, esp, `EFI/${directory}`, (own) =>
    replaceFile(linux, own, name, program, FILE_MODE),
  );
  return withDirectory(linux, esp, "EFI/BOOT", (boot) => {
    if (isForeign(linux, boot, fallback, mark)) return false;
    replaceFile(linux, boot, fallback, program, FILE_MODE);
    return true;
  });
}

function isForeign(linux: Linux, directory: Fd, name: string, mark: string): boolean {
  try {
    return !Buffer.from(readFile(linux, directory, name, MAX_PROGRAM)).includes(mark);
  } catch (error) {
    if (isErrno(error, "ENOENT")) return false;
    throw error;
  }
}
