/** Filesystem images that are no container image's: of directories of this machine, and images that others have made. */
import { toHex } from "../../src/formats/digest.ts";
import { ErofsImage, erofsObjects, writeErofs } from "../../src/formats/erofs/index.ts";
import { transformForBoot, transformForOci, type XattrMode } from "../../src/model/transform.ts";
import type { Tree } from "../../src/model/tree.ts";
import { scanDirectory } from "../scan.ts";
import { RepositoryError } from "./errors.ts";
import type { ErofsFormat, Repository, StoreMethod } from "./repository.ts";

export interface AddOptions {
  /** The reference that the image in the default format gets: `images/refs/<name>`. */
  readonly name?: string;
  /** Make it what a machine boots. */
  readonly bootable: boolean;
  /** Make it what the same tree in a container image would be; if not, everything is taken as it is. */
  readonly asContainer: boolean;
  readonly xattrs: XattrMode;
}

export interface AddedImage {
  /** One for each format of the repository, the default one first. */
  readonly images: readonly { readonly format: ErofsFormat; readonly digest: Uint8Array }[];
  /** Objects by the way in which their content came into the repository. */
  readonly objects: Readonly<Record<StoreMethod, number>>;
}

/** Largest file that is read to make a tree bootable, in bytes. */
const MAX_READ = 16 << 20;
const NAMED_IN_ERROR = 3;

/**
 * Stores the files of a directory, makes images of its tree and links them. Hard links stay hard links.
 *
 * Order: the objects; then for each image its object, sync of the file system, and its link; last the name.
 */
export function addDirectory(
  repository: Repository,
  path: string,
  { name, bootable, asContainer, xattrs }: AddOptions,
): AddedImage {
  repository.requireWritable();
  const objects: Record<StoreMethod, number> = {
    existing: 0,
    reflinked: 0,
    hardlinked: 0,
    copied: 0,
  };
  const tree = scanDirectory(repository.files.platform.linux, path, {
    take: (fd) => {
      const stored = repository.storeFile(fd);
      objects[stored.method]++;
      return stored;
    },
    hardlinks: true,
    xattrs: "all",
    devices: true,
    epoch: false,
  });
  if (asContainer) transformForOci(tree, xattrs);
  if (bootable) makeBootable(repository, tree);
  const made = repository.formats.map((format) => ({
    format,
    bytes: writeErofs(tree, { format }),
  }));
  const images = made.map(({ format, bytes }, index) => ({
    format,
    digest: repository.writeImage(bytes, index === 0 ? name : undefined),
  }));
  return { images, objects };
}

function makeBootable(repository: Repository, tree: Tree): void {
  transformForBoot(tree, (content, path) => {
    if (content.type === "inline") return content.data;
    if (content.type !== "external") throw new Error(`${path}: expected a file with content`);
    return repository.readObject(content.digest, MAX_READ);
  });
}

/**
 * Stores an image that somebody else has made, and links it. It must be an image of composefs, and the repository must have
 * the objects of its files. Returns its digest.
 */
export function importImage(repository: Repository, bytes: Uint8Array, name?: string): Uint8Array {
  repository.requireWritable();
  new ErofsImage(bytes); // throws for what is none
  const missing: string[] = [];
  for (const object of erofsObjects(bytes)) {
    if (!repository.hasObject(object)) missing.push(toHex(object));
  }
  if (missing.length > 0) {
    const named = missing.slice(0, NAMED_IN_ERROR).join(", ");
    const more = missing.length - NAMED_IN_ERROR;
    throw new RepositoryError(
      "not-found",
      `the repository lacks ${missing.length} of the image's objects: ${named}${more > 0 ? ` and ${more} more` : ""}`,
    );
  }
  return repository.writeImage(bytes, name);
}
