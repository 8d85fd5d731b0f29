/** What a deployment takes from its image. */
import { display, fromBytes, toText } from "../../src/formats/bytestring.ts";
import { readErofs } from "../../src/formats/erofs/index.ts";
import {
  isKargsFile,
  KARGS_DIRECTORY,
  kargsArchitecture,
  kargsOfFiles,
  parseKargsToml,
} from "../../src/formats/kargs-toml.ts";
import { type OsLabel, osLabel, parseOsRelease } from "../../src/formats/os-release.ts";
import type { Tree } from "../../src/formats/tree.ts";
import { HintedError } from "../../src/linux/hint.ts";
import { filesOf, findFile, findKernels, findUkis } from "../../src/model/boot-resources.ts";
import { type KernelSource, measureKernel } from "../bootloader/kernels.ts";
import type { Repository } from "../repository/repository.ts";
import { contentChunks, readContent } from "./image-content.ts";

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

/** An image's kernel with its initramfs. */
export interface BootableKernel {
  readonly release: string;
  readonly source: KernelSource;
  /** SHA-256 of both, in hex. */
  readonly digest: string;
  /** In bytes, of both. */
  readonly size: number;
}

/**
 * The kernel that an image boots with: the first one. An image that has none, or none with an initramfs, is an error that
 * says what is missing.
 */
export function kernelOf(repository: Repository, tree: Tree): BootableKernel {
  const [kernel] = findKernels(tree);
  if (kernel === undefined) {
    const [uki] = findUkis(tree);
    if (uki !== undefined) {
      throw new HintedError(
        `its only kernel is the unified kernel image ${uki}`,
        "cfsboot stages kernels of /usr/lib/modules/VERSION/vmlinuz",
      );
    }
    throw new HintedError(
      "it has no kernel",
      "a bootable image has /usr/lib/modules/VERSION/vmlinuz and initramfs.img",
    );
  }
  const { release, vmlinuz, initramfs } = kernel;
  if (initramfs === undefined) {
    throw new HintedError(
      `it has no initramfs: /usr/lib/modules/${release}/initramfs.img`,
      "dracut makes it when the image is built, with the module 51cfsboot",
    );
  }
  const source: KernelSource = {
    vmlinuz: () => contentChunks(repository, vmlinuz),
    initrd: () => contentChunks(repository, initramfs),
  };
  const { digest, sizes } = measureKernel(source);
  return { release, source, digest, size: sizes.vmlinuz + sizes.initrd };
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
