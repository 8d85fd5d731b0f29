/** What a deployment takes from its image. */
import { type ByteRange, readPieces } from "../../src/formats/byte-source.ts";
import { display, fromBytes, toText } from "../../src/formats/bytestring.ts";
import type { ComposefsArgument } from "../../src/formats/cmdline.ts";
import { readErofs } from "../../src/formats/erofs/index.ts";
import {
  isKargsFile,
  KARGS_DIRECTORY,
  kargsArchitecture,
  kargsOfFiles,
  parseKargsToml,
} from "../../src/formats/kargs-toml.ts";
import { type OsLabel, osLabel, parseOsRelease } from "../../src/formats/os-release.ts";
import { readPe } from "../../src/formats/pe.ts";
import type { Tree } from "../../src/formats/tree.ts";
import {
  bootDigestRanges,
  readUki,
  sectionOf,
  ukiCmdline,
  ukiComposefs,
  ukiOsRelease,
  ukiRelease,
} from "../../src/formats/uki.ts";
import { HintedError } from "../../src/linux/hint.ts";
import { filesOf, findFile, findKernels, findUkis } from "../../src/model/boot-resources.ts";
import { measure } from "../bootloader/aside.ts";
import { type KernelSource, measureKernel } from "../bootloader/kernels.ts";
import type { Repository } from "../repository/repository.ts";
import { contentChunks, contentSize, contentSource, readContent } from "./image-content.ts";

const MAX_IMAGE = 2 ** 30;
const MAX_TEXT = 1 << 20;
const OS_RELEASE = ["usr", "lib", "os-release"];

/** The tree of a filesystem image in the repository. Its digest is checked. */
export function readImageTree(repository: Repository, id: string): Tree {
  try {
    return readErofs(repository.readObject(Buffer.from(id, "hex"), MAX_IMAGE));
  } catch (error) {
    throw new Error(`image ${id}`, { cause: error });
  }
}

/** What the boot menu calls an image. */
export function labelOf(repository: Repository, tree: Tree): OsLabel {
  const content = findFile(tree, OS_RELEASE);
  if (content === undefined) return osLabel(new Map());
  return osLabel(parseOsRelease(textOf(repository, content, "/usr/lib/os-release")));
}

/** The image's own kernel arguments. `architecture` as OCI calls it. */
export function kargsOf(repository: Repository, tree: Tree, architecture: string): string[] {
  const files = filesOf(tree, KARGS_DIRECTORY.split("/"))
    .map(([name, content]) => [display(name), content] as const)
    .filter(([name]) => isKargsFile(name))
    .map(([name, content]) => {
      const path = `/${KARGS_DIRECTORY}/${name}`;
      return [name, parseKargsToml(textOf(repository, content, path), path)] as const;
    });
  return [...kargsOfFiles(new Map(files), kargsArchitecture(architecture))];
}

/** What an image boots with: a kernel with its initramfs, or both in one file. */
export interface BootableKernel {
  readonly release: string;
  readonly source: KernelSource;
  /** What tells it from others, SHA-256 in hex (see `measureKernel`). */
  readonly digest: string;
  /** In bytes, of all files. */
  readonly size: number;
  /** What bootc tells it by: SHA-256, in hex, of the kernel and the initramfs. */
  readonly bootDigest: string;
  /** The initramfs, for whoever looks into it: its size in bytes, and its content. */
  readonly initramfs: { readonly size: number; readonly chunks: () => Iterable<Uint8Array> };
  /** Absent: it is no unified kernel image. */
  readonly unified?: UnifiedKernel;
}

/** What only a unified kernel image says. */
export interface UnifiedKernel {
  /** In the container image, for people. */
  readonly path: string;
  /** The one that is used unless another profile is chosen. */
  readonly cmdline: string;
  /** What each profile boots, by its command line. */
  readonly profiles: readonly (readonly ComposefsArgument[])[];
  /** Absent: it does not say what it is called. */
  readonly label: OsLabel | undefined;
}

/**
 * What a container image boots with: its first unified kernel image, else its first kernel. `tree` has its `/boot`. An image
 * that has none, or none with an initramfs, is an error that says what is missing.
 */
export function kernelOf(repository: Repository, tree: Tree): BootableKernel {
  return findUkis(tree).length > 0 ? ukiOf(repository, tree) : linuxOf(repository, tree);
}

/** The same, of kernels with an initramfs of their own. */
export function linuxOf(repository: Repository, tree: Tree): BootableKernel {
  const [kernel] = findKernels(tree);
  if (kernel === undefined) {
    throw new HintedError(
      "it has no kernel",
      "a bootable image has /usr/lib/modules/VERSION/vmlinuz and initramfs.img, or a unified kernel image in /boot/EFI/Linux",
    );
  }
  const { release, vmlinuz, initramfs } = kernel;
  if (initramfs === undefined) {
    throw new HintedError(
      `it has no initramfs: /usr/lib/modules/${release}/initramfs.img`,
      "dracut makes it when the image is built, with the module 51cfsboot",
    );
  }
  const chunks = () => contentChunks(repository, initramfs);
  const source: KernelSource = {
    ...{ kind: "linux", vmlinuz: () => contentChunks(repository, vmlinuz), initrd: chunks },
  };
  const measured = measureKernel(source);
  const bootDigest = measured.digest;
  const content = { size: contentSize(initramfs), chunks };
  return { release, source, ...measured, bootDigest, initramfs: content };
}

/** The same, of unified kernel images. */
export function ukiOf(repository: Repository, tree: Tree): BootableKernel {
  const [uki] = findUkis(tree);
  if (uki === undefined) throw new Error("it has no unified kernel image");
  const { path, content } = uki;
  const source: KernelSource = {
    ...{ kind: "uki", uki: () => contentChunks(repository, content), addons: new Map() },
  };
  // which also checks that the content is what the image's digest stands for
  const measured = measureKernel(source);
  try {
    const bytes = contentSource(repository, content);
    const uki = readUki(readPe(bytes));
    if (uki.kind !== "uki") throw new Error("an addon, not a unified kernel image");
    const [profile] = uki.profiles;
    const pieces = (ranges: readonly ByteRange[]) => () => readPieces(bytes, ranges);
    const initrd = sectionOf(profile, ".initrd")?.content ?? { start: 0, end: 0 };
    const digested = bootDigestRanges(uki, { deviceTree: true });
    const release = ukiOsRelease(uki, profile);
    return {
      release: ukiRelease(uki, profile) ?? "unknown",
      source,
      ...measured,
      bootDigest: measure([pieces(digested)]).digest,
      initramfs: { size: initrd.end - initrd.start, chunks: pieces([initrd]) },
      unified: {
        path,
        cmdline: ukiCmdline(uki, profile) ?? "",
        profiles: uki.profiles.map((one) => ukiComposefs(uki, one)),
        label: release && osLabel(release),
      },
    };
  } catch (error) {
    throw new Error(`unified kernel image ${path}`, { cause: error });
  }
}

function textOf(
  repository: Repository,
  content: Parameters<typeof readContent>[1],
  path: string,
): string {
  const text = toText(fromBytes(readContent(repository, content, MAX_TEXT)));
  if (text === undefined) throw new Error(`${path}: expected UTF-8`);
  return text;
}
