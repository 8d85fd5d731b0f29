/** `cfsboot erofs fsck` */
import type { Command } from "commander";
import { fromHex, hashOfDigest, objectPath, sameDigest, toHex } from "../../src/formats/digest.ts";
import { ErofsImage, erofsObjects, readErofs, writeErofs } from "../../src/formats/erofs/index.ts";
import {
  AT_FDCWD,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_PATH,
  O_RDONLY,
} from "../../src/linux/constants.ts";
import { type Fd, isErrno, type Linux } from "../../src/linux/linux.ts";
import { measureVerity } from "../../src/linux/verity.ts";
import { digestBytes, digestFile } from "../hash.ts";
import { UsageError } from "./errors.ts";
import { addExamples } from "./example.ts";
import { inputName, readInput, within } from "./files.ts";

interface Flags {
  readonly digest?: string;
  readonly basedir?: string;
}

/** Adds `fsck` to the `erofs` command. */
export function registerCheck(erofs: Command): void {
  const command = erofs
    .command("fsck")
    .description("check an image, its digest and its objects")
    .argument("<image>", 'image to read, "-" for standard input')
    .option("--digest <hex>", "the fs-verity digest that the image must have")
    .option("--basedir <directory>", "check the objects in this directory too")
    .action((image: string, flags: Flags) => within(inputName(image), () => check(image, flags)));
  addExamples(command, "cfsboot erofs fsck --basedir objects root.cfs");
}

async function check(path: string, { digest, basedir }: Flags): Promise<void> {
  const expected = digest === undefined ? undefined : parseDigest(digest);
  const bytes = await readInput(path);
  if (expected !== undefined) {
    const actual = digestBytes(hashOfDigest(expected)!, bytes);
    if (!sameDigest(actual, expected)) {
      throw new Error(`its fs-verity digest is ${toHex(actual)}, expected ${toHex(expected)}`);
    }
  }
  const { format } = new ErofsImage(bytes);
  const rebuilt = writeErofs(readErofs(bytes), { format });
  const objects = erofsObjects(bytes);
  const damaged = basedir === undefined ? [] : await checkObjects(objects, basedir);
  for (const line of damaged) process.stdout.write(`${line}\n`);
  if (damaged.length > 0) {
    throw new Error(`${damaged.length} of ${objects.length} objects are missing or damaged`);
  }
  process.stdout.write(
    `${inputName(path)}: good, format ${format}, ${objects.length} objects${basedir === undefined ? "" : " checked"}\n`,
  );
  if (Buffer.compare(rebuilt, bytes) !== 0) {
    process.stdout.write("note: cfsboot writes another image for this tree\n");
  }
}

function parseDigest(hex: string): Uint8Array {
  const digest = fromHex(hex);
  if (digest === undefined || hashOfDigest(digest) === undefined) {
    throw new UsageError(`--digest ${hex}: expected 64 or 128 hex digits`);
  }
  return digest;
}

/** A line for each object that is not as it must be. */
async function checkObjects(objects: readonly Uint8Array[], basedir: string): Promise<string[]> {
  const { linux } = await import("../linux.ts");
  const directory = linux.openat(AT_FDCWD, basedir, O_PATH | O_DIRECTORY | O_CLOEXEC);
  const lines: string[] = [];
  for (const digest of objects) {
    const path = objectPath(toHex(digest));
    const why = checkObject(linux, directory, path, digest);
    if (why !== undefined) lines.push(`${path}: ${why}`);
  }
  linux.close(directory);
  return lines.sort();
}

/** What is wrong with an object, `undefined` if nothing is. */
function checkObject(
  linux: Linux,
  directory: Fd,
  path: string,
  digest: Uint8Array,
): string | undefined {
  const hash = hashOfDigest(digest)!;
  let fd: Fd;
  try {
    fd = linux.openat(directory, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return "missing";
    throw error;
  }
  try {
    const measured = measureVerity(linux, fd, hash);
    const actual = measured.state === "verity" ? measured.digest : digestFile(hash, fd);
    return sameDigest(actual, digest) ? undefined : `its digest is ${toHex(actual)}`;
  } finally {
    linux.close(fd);
  }
}
