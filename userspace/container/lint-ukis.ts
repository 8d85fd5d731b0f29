/** Checks of unified kernel images: that they can be read, and boot the image that they are in and no other. */
import type { ComposefsArgument } from "../../src/formats/cmdline.ts";
import type { HashName } from "../../src/formats/digest.ts";
import { dumpLines } from "../../src/formats/dumpfile-writer.ts";
import type { Tree } from "../../src/formats/tree.ts";
import { type Uki, ukiComposefs, ukiOsRelease } from "../../src/formats/uki.ts";
import { errorText } from "../../src/linux/error-text.ts";
import { linux } from "../linux.ts";
import { type BootFormat, bootDigest, isRunning, readBootTree } from "./boot-digest.ts";
import type { Rootfs } from "./rootfs.ts";
import { addonsOf, openUki, type UkiFile, ukisOf } from "./ukis.ts";

const MAX_DUMP = 2 ** 28;

/** Those that cannot be read, or are for other machines. `architecture` as OCI calls it. */
export function unreadableUkis(rootfs: Rootfs, architecture: string): string[] {
  const ukis = ukisOf(rootfs);
  const check = (file: UkiFile, kind: Uki["kind"]): string[] => {
    try {
      const uki = openUki(rootfs, file, kind);
      const { image, profiles } = uki;
      for (const profile of profiles) {
        ukiComposefs(uki, profile);
        ukiOsRelease(uki, profile);
      }
      if (image.architecture === architecture) return [];
      const found = image.architecture ?? `machine 0x${image.machine.toString(16)}`;
      return [`${file.path} is for ${found}, expected ${architecture}`];
    } catch (error) {
      return [`${file.path}: ${errorText(error)}`];
    }
  };
  return [
    ...ukis.flatMap((file) => check(file, "uki")),
    ...addonsOf(rootfs, ukis).flatMap((file) => check(file, "addon")),
  ];
}

/**
 * Those that do not boot this root file system. Of one whose dump file is in `/boot` also what is different is told. Nothing is
 * told of the root that this program runs in, whose digest cannot be computed.
 */
export function mismatchedUkis(rootfs: Rootfs): string[] {
  if (isRunning(rootfs)) return [];
  const digests = new RootDigests(rootfs);
  return ukisOf(rootfs).flatMap((file) => {
    const images = imagesOf(rootfs, file);
    if (images === undefined) return [];
    if (images.length === 0) {
      return [`${file.path} has no composefs= on its command line: it boots no image`];
    }
    const wrong = images.filter((image) => !digests.matching(image));
    const [first] = wrong;
    if (first === undefined) return [];
    return [
      ...wrong.map(
        (image) =>
          `${file.path} boots ${image.text}, and the root file system is ${digests.expected(image)}`,
      ),
      ...differences(rootfs, file, digests.tree(first.hash)),
    ];
  });
}

/** What its profiles boot, each image once; `undefined` if it cannot be read. */
function imagesOf(rootfs: Rootfs, file: UkiFile): ComposefsArgument[] | undefined {
  try {
    const uki = openUki(rootfs, file, "uki");
    const all = uki.profiles.flatMap((profile) => ukiComposefs(uki, profile));
    return [...new Map(all.map((image) => [image.text, image])).values()];
  } catch {
    return undefined;
  }
}

/** The digests of the root file system, each computed when it is asked for. */
class RootDigests {
  readonly #rootfs: Rootfs;
  readonly #trees = new Map<HashName, Tree>();
  readonly #digests = new Map<string, string>();

  constructor(rootfs: Rootfs) {
    this.#rootfs = rootfs;
  }

  tree(hash: HashName): Tree {
    const tree = this.#trees.get(hash) ?? readBootTree(linux, this.#rootfs, hash);
    this.#trees.set(hash, tree);
    return tree;
  }

  /** Without a format either will do: releases of bootc wrote either. */
  matching({ digest, hash, erofs }: ComposefsArgument): boolean {
    const formats: readonly BootFormat[] = erofs === undefined ? [2, 1] : [erofs];
    return formats.some((format) => this.#digest(hash, format) === digest);
  }

  expected({ hash, erofs = 2 }: ComposefsArgument): string {
    return this.#digest(hash, erofs);
  }

  #digest(hash: HashName, format: BootFormat): string {
    const key = `${hash} ${format}`;
    const digest = this.#digests.get(key) ?? bootDigest(this.tree(hash), hash, format);
    this.#digests.set(key, digest);
    return digest;
  }
}

/** What is another now than when the image was built, by the dump file that was written then. */
function differences(rootfs: Rootfs, { stem }: UkiFile, tree: Tree): string[] {
  const path = `/boot/${stem}.dump`;
  const bytes = rootfs.read(path, MAX_DUMP);
  if (bytes === undefined) return [];
  const lines = Buffer.from(bytes)
    .toString("latin1")
    .split("\n")
    .filter((line) => line !== "");
  const before = new Map(lines.map((line) => [pathOf(line), line]));
  const found: string[] = [];
  for (const dumped of dumpLines(tree)) {
    const line = dumped.trimEnd();
    const old = before.get(pathOf(line));
    before.delete(pathOf(line));
    if (old === undefined) found.push(`not in ${path}: ${line}`);
    else if (old !== line) found.push(`in ${path}: ${old}; now: ${line}`);
  }
  return [...found, ...[...before.values()].map((line) => `only in ${path}: ${line}`)];
}

function pathOf(line: string): string {
  return line.split(" ", 1)[0]!;
}
