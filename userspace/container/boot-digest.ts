/** The digest that the root file system of an image that is being built will have where it is booted. */
import { realpathSync } from "node:fs";
import { type HashName, toHex } from "../../src/formats/digest.ts";
import { writeErofs } from "../../src/formats/erofs/index.ts";
import { AT_EMPTY_PATH } from "../../src/linux/constants.ts";
import { HintedError } from "../../src/linux/hint.ts";
import type { Linux } from "../../src/linux/linux.ts";
import type { ReadContent } from "../../src/model/selinux/policy.ts";
import { transformForBoot, transformForOci } from "../../src/model/transform.ts";
import type { Tree } from "../../src/model/tree.ts";
import { digestBytes, digestFile } from "../hash.ts";
import { scanDirectory } from "../scan.ts";
import type { Rootfs } from "./rootfs.ts";

/** Largest file that is read to label the tree, in bytes. */
const MAX_READ = 16 << 20;

/** Formats of images that machines boot. */
export type BootFormat = 1 | 2;

/**
 * Whether it is the root that this program runs in. What is mounted there hides the directories that are in the image, so
 * that its digest cannot be told.
 */
export function isRunning(rootfs: Rootfs): boolean {
  return realpathSync(rootfs.path) === "/";
}

/**
 * The tree that a machine boots, as pulling the finished image makes it: without `/boot`, where the unified kernel image goes
 * that holds the digest. Throws for the root that this program runs in.
 */
export function readBootTree(linux: Linux, rootfs: Rootfs, hash: HashName): Tree {
  if (isRunning(rootfs)) {
    throw new HintedError(
      `${rootfs.path} is running: what is mounted there hides what is in the image`,
      "in a Containerfile, take it from another stage: RUN --mount=type=bind,from=STAGE,target=/target … --rootfs /target",
    );
  }
  const tree = scanDirectory(linux, rootfs.path, {
    take: (fd) => ({
      size: linux.statx(fd, "", AT_EMPTY_PATH).size,
      digest: digestFile(hash, fd),
    }),
    ...{ hardlinks: true, xattrs: "all", devices: true, epoch: false },
  });
  const read: ReadContent = (content, path) => {
    if (content.type === "inline") return content.data;
    const bytes = rootfs.read(path, MAX_READ);
    if (bytes === undefined) throw new Error(`${path}: expected a file with content`);
    return bytes;
  };
  try {
    transformForOci(tree);
    transformForBoot(tree, read);
  } catch (error) {
    throw new Error(rootfs.path, { cause: error });
  }
  return tree;
}

/** The digest of a tree's image, in hex. */
export function bootDigest(tree: Tree, hash: HashName, format: BootFormat): string {
  return toHex(digestBytes(hash, writeErofs(tree, { format })));
}
