/** What a root file system is booted with. */
import { readRange } from "../../src/formats/byte-source.ts";
import { fromBytes, toText } from "../../src/formats/bytestring.ts";
import { splitCmdline } from "../../src/formats/cmdline.ts";
import {
  isKargsFile,
  KARGS_DIRECTORY,
  kargsArchitecture,
  kargsOfFiles,
  parseKargsToml,
} from "../../src/formats/kargs-toml.ts";
import { sectionOf, ukiCmdline, ukiComposefs, ukiRelease } from "../../src/formats/uki.ts";
import { checkBoot, type Finding } from "../../src/model/boot-checks.ts";
import type { InitramfsContent } from "../../src/model/initramfs-content.ts";
import { readInitramfs } from "../initramfs.ts";
import type { Rootfs } from "./rootfs.ts";
import { openUki, type UkiFile, ukisOf } from "./ukis.ts";

export const MODULES = "/usr/lib/modules";
const MAX_INITRAMFS = 2 ** 29;
const MAX_TEXT = 1 << 24;

export interface ContainerKernel {
  /** `uname -r`; the name of a unified kernel image that does not say it, or cannot be read. */
  readonly version: string;
  readonly unified: boolean;
}

/** The releases of kernels, sorted. */
export function kernelsOf(rootfs: Rootfs): string[] {
  return rootfs
    .names(MODULES)
    .filter((name) => rootfs.typeOf(`${MODULES}/${name}/vmlinuz`) === "file");
}

/** What it boots: a unified kernel image goes before others. */
export function bootedKernel(rootfs: Rootfs): ContainerKernel | undefined {
  const [file] = ukisOf(rootfs);
  if (file !== undefined) return { version: unifiedRelease(rootfs, file), unified: true };
  const [version] = kernelsOf(rootfs);
  return version === undefined ? undefined : { version, unified: false };
}

function unifiedRelease(rootfs: Rootfs, file: UkiFile): string {
  try {
    const uki = openUki(rootfs, file, "uki");
    return ukiRelease(uki, uki.profiles[0]) ?? file.stem;
  } catch {
    return file.stem;
  }
}

/**
 * What the kernel is started with as far as the image says it: the command line of the unified kernel image that boots, else
 * its files of kernel arguments. Throws, naming the file, where one is wrong.
 */
export function bootedKargs(rootfs: Rootfs, architecture: string): readonly string[] {
  const [file] = ukisOf(rootfs);
  if (file === undefined) return containerKargs(rootfs, architecture);
  try {
    const uki = openUki(rootfs, file, "uki");
    return splitCmdline(ukiCmdline(uki, uki.profiles[0]) ?? "");
  } catch (error) {
    throw new Error(file.path, { cause: error });
  }
}

/** The image's kernel arguments. `architecture` as OCI calls it. Throws, naming the file, where one is wrong. */
export function containerKargs(rootfs: Rootfs, architecture: string): readonly string[] {
  const files = new Map(
    rootfs
      .names(`/${KARGS_DIRECTORY}`)
      .filter(isKargsFile)
      .map((name) => {
        const path = `/${KARGS_DIRECTORY}/${name}`;
        const text = toText(fromBytes(rootfs.read(path, MAX_TEXT) ?? new Uint8Array(0)));
        if (text === undefined) throw new Error(`${path}: expected UTF-8`);
        return [name, parseKargsToml(text, path)] as const;
      }),
  );
  return kargsOfFiles(files, kargsArchitecture(architecture));
}

/** Whether it will come up: what `checkBoot` finds, for the kernel that it boots. */
export function checkContainer(rootfs: Rootfs): Finding[] {
  const found = bootFiles(rootfs);
  if (found === undefined) return [];
  const { data, cmdline, verity } = found;
  let initramfs: InitramfsContent | Error;
  try {
    initramfs = readInitramfs(data);
  } catch (error) {
    initramfs = error instanceof Error ? error : new Error(String(error));
  }
  // who does not say which kernel it is has an initramfs with the modules of one
  const [only] = initramfs instanceof Error ? [undefined] : [...initramfs.modules.keys()];
  const release = found.release ?? only ?? "unknown";
  const text = (name: string) => {
    const bytes = rootfs.read(`${MODULES}/${release}/${name}`, MAX_TEXT);
    return bytes === undefined ? undefined : fromBytes(bytes);
  };
  return checkBoot({
    kernel: { release, builtin: text("modules.builtin"), config: text("config") },
    initramfs,
    ...{ verity, cmdline, rootFileSystem: undefined },
  });
}

interface BootFiles {
  readonly release: string | undefined;
  /** The initramfs. */
  readonly data: Uint8Array;
  readonly cmdline: string;
  readonly verity: boolean;
}

/** What is booted; `undefined` if it is not there, or cannot be read: other checks tell that. */
function bootFiles(rootfs: Rootfs): BootFiles | undefined {
  const [file] = ukisOf(rootfs);
  if (file !== undefined) return unifiedFiles(rootfs, file);
  const [release] = kernelsOf(rootfs);
  if (release === undefined) return undefined;
  const data = rootfs.read(`${MODULES}/${release}/initramfs.img`, MAX_INITRAMFS);
  return data && { release, data, cmdline: "", verity: true };
}

function unifiedFiles(rootfs: Rootfs, file: UkiFile): BootFiles | undefined {
  try {
    const uki = openUki(rootfs, file, "uki");
    const [profile] = uki.profiles;
    const initrd = sectionOf(profile, ".initrd");
    return {
      release: ukiRelease(uki, profile),
      data: initrd ? readRange(uki.image.source, initrd.content) : new Uint8Array(0),
      cmdline: ukiCmdline(uki, profile) ?? "",
      verity: !ukiComposefs(uki, profile).some(({ insecure }) => insecure),
    };
  } catch {
    return undefined;
  }
}
