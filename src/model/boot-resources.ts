/** What an image's tree holds to boot it with, as bootc looks for it. The tree is one that `transformForBoot` has not emptied. */
import { ascii, type ByteString, display, toText } from "../formats/bytestring.ts";
import type { Directory, Leaf, LeafContent, Node, Tree } from "../formats/tree.ts";
import { sortedEntries } from "../formats/tree.ts";

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

const MODULES = ["usr", "lib", "modules"];
const UKI_PLACES = ["boot", "EFI", "Linux"];

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

/** Paths, for people, of the unified kernel images that the image has. */
export function findUkis(tree: Tree): string[] {
  const found: string[] = [];
  const walk = (directory: Directory, path: string) => {
    for (const [name, node] of sortedEntries(directory)) {
      const inner = `${path}/${display(name)}`;
      if (node.type === "directory") walk(node, inner);
      else if (name.endsWith(".efi") && !name.endsWith(".addon.efi")) found.push(inner);
    }
  };
  const boot = lookUp(tree, UKI_PLACES);
  if (boot?.type === "directory") walk(boot, `/${UKI_PLACES.join("/")}`);
  const modules = lookUp(tree, MODULES);
  if (modules?.type === "directory") {
    for (const [name, node] of sortedEntries(modules)) {
      if (node.type === "directory") walk(node, `/${MODULES.join("/")}/${display(name)}`);
    }
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

function regular(node: Directory | Leaf | undefined): RegularContent | undefined {
  if (node?.type !== "leaf") return undefined;
  const { content } = node;
  return content.type === "inline" || content.type === "external" || content.type === "sparse"
    ? content
    : undefined;
}
