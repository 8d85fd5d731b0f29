/** What an image is made from: a directory, in the format that suits it. */
import type { HashName } from "../../src/formats/digest.ts";
import { type ErofsFormat, holdsWhiteout } from "../../src/formats/erofs/index.ts";
import type { Tree } from "../../src/model/tree.ts";
import type { ScanOptions } from "../scan.ts";
import { UsageError } from "./errors.ts";

export interface SourceOptions extends Omit<ScanOptions, "take"> {
  /** Where to store the content of files that are not in the image; without it, they are only hashed. */
  readonly digestStore: string | undefined;
}

/** The tree of a directory. */
export async function scanSource(
  path: string,
  hash: HashName,
  { digestStore, ...options }: SourceOptions,
): Promise<Tree> {
  const { nodePlatform } = await import("../repository/node-platform.ts");
  const { scanDirectory } = await import("../scan.ts");
  const { DigestStore, hashContent } = await import("../repository/digest-store.ts");
  const { linux } = nodePlatform;
  if (digestStore === undefined) {
    return scanDirectory(linux, path, { ...options, take: hashContent(nodePlatform, hash) });
  }
  const store = new DigestStore(nodePlatform, digestStore, hash);
  try {
    const tree = scanDirectory(linux, path, { ...options, take: store.take });
    store.sync();
    return tree;
  } finally {
    store.close();
  }
}

/** A format that C's mkcomposefs knows. */
export function parseFormat(option: string, value: string): 0 | 1 {
  if (value !== "0" && value !== "1") throw new UsageError(`--${option} ${value}: expected 0 or 1`);
  return value === "0" ? 0 : 1;
}

/** `min`, or `max` where that is higher and the tree holds what it is for. */
export function chooseFormat(tree: Tree, min: 0 | 1, max: 0 | 1): ErofsFormat {
  return max > min && holdsWhiteout(tree) ? max : min;
}
