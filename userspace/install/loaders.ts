/** The boot loader of an installation: which one it is, and how it is written. */
import type { BootLoader } from "../../src/formats/install-toml.ts";
import type { ImagePlatform } from "../../src/formats/oci.ts";
import type { Tree } from "../../src/formats/tree.ts";
import type { Fd, Linux } from "../../src/linux/linux.ts";
import type { Host } from "../deployment/host.ts";
import type { Repository } from "../repository/repository.ts";
import { writeEfiProgram } from "./efi-program.ts";
import { type BootOption, tellFirmware } from "./firmware.ts";
import { besideOthers, type GrubPlace, makeGrub, writeGrubConfig } from "./grub.ts";
import { findImageGrub, isTaken, writeImageGrub } from "./image-grub.ts";
import { findSystemdBoot, writeSystemdBoot } from "./systemd-boot.ts";

interface LoaderWish {
  readonly bootLoader: BootLoader;
  readonly platform: ImagePlatform;
  readonly generic: boolean;
}

/** Writes it, and tells the firmware if there is a device to name. */
export function putLoader(
  { name, path, label, write }: Loader,
  espDevice: string | undefined,
  say: (step: string) => void,
): void {
  say(`write ${name}`);
  const first = write();
  const problem = espDevice === undefined ? undefined : tell({ partition: espDevice, path, label });
  if (problem !== undefined) say(`the firmware was not told about EFI/${path}: ${problem}`);
  if (first || (espDevice !== undefined && problem === undefined)) return;
  say(
    `EFI/BOOT has another boot loader, which stays: tell the firmware about EFI/${path} (efibootmgr)`,
  );
}

/** What went wrong: no reason to fail, as firmware looks into `EFI/BOOT` by itself. */
function tell(option: BootOption): string | undefined {
  try {
    tellFirmware(option);
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

/** A boot loader that only needs to be written. */
export interface Loader {
  readonly name: string;
  /** Below `EFI`. */
  readonly path: string;
  /** What the firmware's menu calls it. */
  readonly label: string;
  /** False if another one stays in its place. */
  readonly write: () => boolean;
}

/** What may fail about a boot loader, before anything is written that needs it. */
export function prepareLoader(
  { bootLoader, platform: { architecture }, generic }: LoaderWish,
  repository: Repository,
  tree: Tree,
  { host: { linux, places }, esp, grub }: { host: Host; esp: Fd; grub: GrubPlace },
): Loader | undefined {
  if (bootLoader === "none") return undefined;
  if (bootLoader === "grub") {
    const { directory } = places[0];
    const place = besideOthers(linux, directory, grub);
    return prepareGrub(repository, tree, architecture, { linux, esp, grub: place }, () =>
      writeGrubConfig(linux, directory, place),
    );
  }
  const program = findSystemdBoot(repository, tree, architecture);
  const source = program.source === "image" ? "image" : "running system";
  const write = () => writeSystemdBoot(linux, esp, program, !generic);
  const label = "Linux Boot Manager"; // as bootctl calls it
  return { name: `systemd-boot (of the ${source})`, path: program.path, label, write };
}

/** The image's GRUB, unless it has none, or another system uses the directory that it looks into: then one is made. */
function prepareGrub(
  repository: Repository,
  tree: Tree,
  architecture: string,
  { linux, esp, grub }: { linux: Linux; esp: Fd; grub: GrubPlace },
  configure: () => void,
): Loader {
  const own = findImageGrub(repository, tree, architecture);
  if (own !== undefined && !isTaken(linux, esp, own)) {
    const write = () => {
      configure();
      return writeImageGrub(linux, esp, repository, own, grub);
    };
    return { name: "GRUB (of the image)", path: own.path, label: own.vendor, write };
  }
  const program = makeGrub(grub, architecture);
  const write = () => {
    configure();
    return writeEfiProgram(linux, esp, program);
  };
  return { name: "GRUB (of the running system)", path: program.path, label: "GRUB", write };
}
