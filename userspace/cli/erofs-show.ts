/** `cfsboot erofs info`, `ls`, `objects`, `missing-objects`, `dump` */
import type { Command } from "commander";
import { type ByteString, fromText } from "../../src/formats/bytestring.ts";
import { hashOfDigest, toHex } from "../../src/formats/digest.ts";
import { dumpLines } from "../../src/formats/dumpfile.ts";
import { backingPaths, ErofsImage, listLines, readErofs } from "../../src/formats/erofs/index.ts";
import { countLinks, type LeafContent, type Tree } from "../../src/model/tree.ts";
import { digestBytes } from "../hash.ts";
import { addExamples } from "./example.ts";
import { inputName, printLines, readInput, within } from "./files.ts";
import { missingPaths } from "./missing-objects.ts";

/** Adds the commands to the `erofs` command. */
export function registerShow(erofs: Command): void {
  const image = (name: string, description: string) =>
    erofs
      .command(name)
      .description(description)
      .argument("<image>", 'image to read, "-" for standard input');

  const info = image("info", "tell an image's format, digests, and what is in it")
    .option("--json", "print JSON", false)
    .action((path: string, { json }: { json: boolean }) =>
      reading(path, (bytes) => {
        const found = imageInfo(bytes);
        process.stdout.write(json ? `${JSON.stringify(found, null, 2)}\n` : infoText(found));
      }),
    );
  addExamples(info, "cfsboot erofs info root.cfs");

  const list = image("ls", "list files, with the object or the target that each one has")
    .option("--filter <name...>", "only these entries of the root, with what is below them")
    .action((path: string, { filter = [] }: { filter?: string[] }) =>
      reading(path, (bytes) => {
        const names = filter.map((name) => fromText(name));
        printLines(listLines(bytes, names));
      }),
    );
  addExamples(list, "cfsboot erofs ls root.cfs");

  const objects = image("objects", "print the objects that an image needs, sorted").action(
    (path: string) => reading(path, (bytes) => printPaths(backingPaths(bytes))),
  );
  addExamples(objects, "cfsboot erofs objects root.cfs");

  const missing = image("missing-objects", "print the objects that a directory does not have")
    .requiredOption("--basedir <directory>", "the directory of objects")
    .action((path: string, { basedir }: { basedir: string }) =>
      reading(path, async (bytes) => printPaths(await missingPaths(backingPaths(bytes), basedir))),
    );
  addExamples(missing, "cfsboot erofs missing-objects --basedir objects root.cfs");

  const dump = image("dump", "print an image as a dump file").action((path: string) =>
    reading(path, (bytes) => printLines(dumpLines(readErofs(bytes)))),
  );
  addExamples(dump, "cfsboot erofs dump root.cfs");
}

async function reading(
  path: string,
  work: (bytes: Uint8Array) => void | Promise<void>,
): Promise<void> {
  await within(inputName(path), async () => work(await readInput(path)));
}

function printPaths(paths: readonly ByteString[]): void {
  process.stdout.write(Buffer.from(paths.map((path) => `${path}\n`).join(""), "latin1"));
}

interface ImageInfo {
  readonly format: number;
  readonly size: number;
  /** fs-verity digests of the image. */
  readonly digests: { readonly sha256: string; readonly sha512: string };
  /** The hash of the objects' digests, `null` if there are none. */
  readonly hash: string | null;
  readonly directories: number;
  /** By kind; files with several names count once. */
  readonly leaves: Readonly<Record<LeafContent["type"], number>>;
  /** Names of files beyond the first. */
  readonly links: number;
  readonly objects: number;
  /** Sum of the sizes of all objects. */
  readonly objectBytes: number;
}

function imageInfo(bytes: Uint8Array): ImageInfo {
  const { format } = new ErofsImage(bytes);
  const tree = readErofs(bytes);
  const links = countLinks(tree);
  const sizes = new Map<string, number>();
  const leaves: Record<LeafContent["type"], number> = {
    inline: 0,
    external: 0,
    sparse: 0,
    symlink: 0,
    chardev: 0,
    blockdev: 0,
    fifo: 0,
    socket: 0,
  };
  let hash: string | undefined;
  let names = 0;
  for (const [{ content }, count] of links) {
    leaves[content.type]++;
    names += count;
    if (content.type !== "external") continue;
    sizes.set(toHex(content.digest), content.size);
    hash ??= hashOfDigest(content.digest);
  }
  return {
    format,
    size: bytes.length,
    digests: {
      sha256: toHex(digestBytes("sha256", bytes)),
      sha512: toHex(digestBytes("sha512", bytes)),
    },
    hash: hash ?? null,
    directories: countDirectories(tree),
    leaves,
    links: names - links.size,
    objects: sizes.size,
    objectBytes: [...sizes.values()].reduce((sum, size) => sum + size, 0),
  };
}

function countDirectories(tree: Tree): number {
  let count = 0;
  const pending = [tree];
  for (let directory = pending.pop(); directory !== undefined; directory = pending.pop()) {
    count++;
    for (const node of directory.entries.values())
      if (node.type === "directory") pending.push(node);
  }
  return count;
}

function infoText(info: ImageInfo): string {
  const { leaves } = info;
  const files = leaves.inline + leaves.external + leaves.sparse;
  const special = leaves.chardev + leaves.blockdev + leaves.fifo + leaves.socket;
  const rows = [
    ["format", `EROFS ${info.format}`],
    ["size", `${info.size} bytes`],
    ["sha256", info.digests.sha256],
    ["sha512", info.digests.sha512],
    ["directories", `${info.directories}`],
    ["files", `${files} (${leaves.inline} in the image, ${leaves.external} in objects)`],
    ["symlinks", `${leaves.symlink}`],
    ["special", `${special}`],
    ["hard links", `${info.links}`],
    ["objects", `${info.objects} (${info.objectBytes} bytes${info.hash ? `, ${info.hash}` : ""})`],
  ];
  return rows.map(([name, value]) => `${`${name}:`.padEnd(13)}${value}\n`).join("");
}
