/** What a root file system is booted with. */
import { fromBytes, toText } from "../../src/formats/bytestring.ts";
import {
  isKargsFile,
  KARGS_DIRECTORY,
  kargsArchitecture,
  kargsOfFiles,
  parseKargsToml,
} from "../../src/formats/kargs-toml.ts";
import { checkBoot, type Finding } from "../../src/model/boot-checks.ts";
import type { InitramfsContent } from "../../src/model/initramfs-content.ts";
import { readInitramfs } from "../initramfs.ts";
import type { Rootfs } from "./rootfs.ts";

const MODULES = "/usr/lib/modules";
const UKIS = "/boot/EFI/Linux";
const MAX_INITRAMFS = 2 ** 29;
const MAX_TEXT = 1 << 24;

export interface ContainerKernel {
  /** `uname -r`, or the name of a unified kernel image. */
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
  const isUki = (name: string) => name.endsWith(".efi") && !name.endsWith(".addon.efi");
  const uki = rootfs.names(UKIS).find(isUki);
  if (uki !== undefined) return { version: uki.slice(0, -".efi".length), unified: true };
  const [version] = kernelsOf(rootfs);
  return version === undefined ? undefined : { version, unified: false };
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

/** Whether it will come up: what `checkBoot` finds, for the kernel that it boots and with fs-verity. */
export function checkContainer(rootfs: Rootfs): Finding[] {
  const kernel = bootedKernel(rootfs);
  if (kernel === undefined || kernel.unified) return [];
  const release = kernel.version;
  const directory = `${MODULES}/${release}`;
  const data = rootfs.read(`${directory}/initramfs.img`, MAX_INITRAMFS);
  if (data === undefined) return [];
  const text = (name: string) => {
    const bytes = rootfs.read(`${directory}/${name}`, MAX_TEXT);
    return bytes === undefined ? undefined : fromBytes(bytes);
  };
  let initramfs: InitramfsContent | Error;
  try {
    initramfs = readInitramfs(data);
  } catch (error) {
    initramfs = error instanceof Error ? error : new Error(String(error));
  }
  const builtin = text("modules.builtin");
  return checkBoot({
    kernel: { release, builtin, config: text("config") },
    initramfs,
    ...{ verity: true, cmdline: "", rootFileSystem: undefined },
  });
}
