/** What an image's tree holds to boot it with, as bootc looks for it. The tree is one that `transformForBoot` has not emptied. */
import { ascii, type ByteString, display, toText } from "../formats/bytestring.ts";
import type { Directory, LeafContent, Node, Tree } from "../formats/tree.ts";
import { sortedEntries } from "../formats/tree.ts";
import { addonsOfUki, isAddonFile, isUkiFile } from "../formats/uki-names.ts";

/** A regular file of an image. */
export type RegularContent = Extract<LeafContent, { type: "inline" | "external" | "sparse" }>;

/** A kernel below `/usr/lib/modules`, and its initramfs. */
export interface ImageKernel {
  /** The name of the directory: `uname -r`. */
  readonly release: string;
  readonly vmlinuz: RegularContent;
  /** `undefined`: the image has none for it, so it does not boot. */
  readonly initramfs: RegularContent | undefined;
}

/** A unified kernel image. */
export interface ImageUki {
  /** For people. */
  readonly path: string;
  readonly content: RegularContent;
  /** Those in the directory of its name with `.extra.d`, by the names of their files, sorted. */
  readonly addons: ReadonlyMap<string, RegularContent>;
}

const MODULES = ["usr", "lib", "modules"];
const UKIS = ["boot", "EFI", "Linux"];

/** The kernels of an image, in the byte order of their releases. */
export function findKernels(tree: Tree): ImageKernel[] {
  const modules = lookUp(tree, MODULES);
  if (modules?.type !== "directory") return [];
  const found: ImageKernel[] = [];
  for (const [name, directory] of sortedEntries(modules)) {
    if (directory.type !== "directory") continue;
    const vmlinuz = regular(directory.entries.get(ascii("vmlinuz")));
    if (vmlinuz === undefined) continue;
    const initramfs = regular(directory.entries.get(ascii("initramfs.img")));
    found.push({ release: toText(name) ?? display(name), vmlinuz, initramfs });
  }
  return found;
}

/**
 * The unified kernel images of a container image, the one that boots first; they go before kernels. `tree` has its `/boot`, which
 * the filesystem that boots has not.
 */
export function findUkis(tree: Tree): ImageUki[] {
  const boot = lookUp(tree, UKIS);
  const modules = lookUp(tree, MODULES);
  const releases = modules?.type === "directory" ? sortedEntries(modules) : [];
  return [
    ...(boot?.type === "directory" ? ukisIn(boot, `/${UKIS.join("/")}`) : []),
    ...releases.flatMap(([name, node]) =>
      node.type === "directory" ? ukisIn(node, `/${MODULES.join("/")}/${display(name)}`) : [],
    ),
  ];
}

function ukisIn(directory: Directory, path: string): ImageUki[] {
  return sortedEntries(directory).flatMap(([name, node]): ImageUki[] => {
    const inner = `${path}/${display(name)}`;
    if (node.type === "directory") return ukisIn(node, inner);
    const content = regular(node);
    if (!isUkiFile(name) || content === undefined) return [];
    const addons = directory.entries.get(addonsOfUki(name) as ByteString);
    return [{ path: inner, content, addons: addonsIn(addons) }];
  });
}

function addonsIn(node: Node | undefined): Map<string, RegularContent> {
  const found = new Map<string, RegularContent>();
  if (node?.type !== "directory") return found;
  for (const [name, child] of sortedEntries(node)) {
    const content = regular(child);
    if (content !== undefined && isAddonFile(name)) found.set(display(name), content);
  }
  return found;
}

/** The regular file at a path, without following symlinks. */
export function findFile(tree: Tree, path: readonly string[]): RegularContent | undefined {
  return regular(lookUp(tree, path));
}

/** Regular files of a directory by name, in byte order; none if there is no such directory. */
export function filesOf(tree: Tree, path: readonly string[]): [ByteString, RegularContent][] {
  const directory = lookUp(tree, path);
  if (directory?.type !== "directory") return [];
  return sortedEntries(directory).flatMap(([name, node]): [ByteString, RegularContent][] => {
    const content = regular(node);
    return content === undefined ? [] : [[name, content]];
  });
}

/** What is at a path, without following symlinks. */
export function lookUp(tree: Tree, path: readonly string[]): Node | undefined {
  let node: Node | undefined = tree;
  for (const name of path) {
    node = node?.type === "directory" ? node.entries.get(ascii(name)) : undefined;
  }
  return node;
}

function regular(node: Node | undefined): RegularContent | undefined {
  if (node?.type !== "leaf") return undefined;
  const { content } = node;
  return content.type === "inline" || content.type === "external" || content.type === "sparse"
    ? content
    : undefined;
}
