/**
 * Kernels on the boot partition: a directory `bootc_composefs-ID` with `vmlinuz` and `initrd` for each one that differs
 * (bootc's layout, its paths in entries too).
 *
 * A kernel is written to a directory of another name, read back, and renamed when it is whole. What a half-done write
 * of anybody has left is seen as incomplete, never an error.
 */
import { createHash } from "node:crypto";
import { toText } from "../../src/formats/bytestring.ts";
import {
  DT_DIR,
  O_CLOEXEC,
  O_NOFOLLOW,
  O_RDONLY,
  RENAME_EXCHANGE,
} from "../../src/linux/constants.ts";
import {
  createFile,
  exists,
  ifThere,
  makeDirectories,
  removeTree,
  withDirectory,
} from "../../src/linux/directories.ts";
import { type Fd, isErrno, type Linux } from "../../src/linux/linux.ts";
import { artifactName, artifactOf } from "../../src/model/menu-entry.ts";
import { type BootPlace, DIRECTORY_MODE, FILE_MODE } from "./boot-place.ts";
import { discard, settleNames } from "./discard.ts";
import { temporaryName, temporaryNames } from "./temporary-names.ts";

/** The files of a kernel's directory, in the order in which they are digested. */
export const KERNEL_FILES = ["vmlinuz", "initrd"] as const;
export type KernelFile = (typeof KERNEL_FILES)[number];

const CHUNK = 1 << 20;

export interface KernelDirectory {
  /** What entries know it by: its name without the prefix (which early releases of bootc did not write). */
  readonly artifact: string;
  /** Its name. */
  readonly name: string;
  /** Whether it has both files, with something in them. */
  readonly complete: boolean;
}

/** Bytes of a kernel's file, each time anew from the start. */
export type KernelSource = Readonly<Record<KernelFile, () => Iterable<Uint8Array>>>;

/** Our directories of kernels, sorted by name. */
export function listKernels(linux: Linux, place: BootPlace): KernelDirectory[] {
  const found: KernelDirectory[] = [];
  ifThere(() =>
    withDirectory(linux, place.directory, place.kernels, (directory) => {
      for (const entry of linux.readdir(directory)) {
        const name = toText(entry.name);
        const artifact = name === undefined ? undefined : artifactOf(name);
        if (artifact === undefined || entry.type !== DT_DIR) continue;
        const complete = withDirectory(linux, directory, name!, (kernel) =>
          KERNEL_FILES.every((file) => !isEmpty(linux, kernel, file)),
        );
        found.push({ artifact, name: name!, complete });
      }
    }),
  );
  return found.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** What each of the complete kernels takes, in bytes, by its directory's name. */
export function kernelSizes(linux: Linux, place: BootPlace): Map<string, number> {
  const sizes = new Map<string, number>();
  for (const { name, complete } of listKernels(linux, place)) {
    if (!complete) continue;
    const size = withDirectory(linux, place.directory, `${place.kernels}/${name}`, (kernel) =>
      KERNEL_FILES.reduce((sum, file) => sum + linux.statx(kernel, file, 0).size, 0),
    );
    sizes.set(name, size);
  }
  return sizes;
}

/**
 * Finds a complete directory that holds this very kernel: one whose files together have the digest (SHA-256 of `vmlinuz`,
 * then `initrd`, in hex). What cannot be read is not it, nor is one without the prefix, which new entries do not name.
 */
export function findKernel(
  linux: Linux,
  place: BootPlace,
  digest: string,
): KernelDirectory | undefined {
  return listKernels(linux, place).find(
    ({ artifact, name, complete }) =>
      complete && name === artifactName(artifact) && digestOf(linux, place, name) === digest,
  );
}

function digestOf(linux: Linux, place: BootPlace, name: string): string | undefined {
  try {
    return withDirectory(linux, place.directory, `${place.kernels}/${name}`, (kernel) =>
      digestFiles(linux, kernel),
    );
  } catch (error) {
    if (isErrno(error, "ENOENT", "EIO", "EACCES")) return undefined;
    throw error;
  }
}

function digestFiles(linux: Linux, directory: Fd): string {
  const hash = createHash("sha256");
  for (const file of KERNEL_FILES) {
    for (const chunk of readChunks(linux, directory, file)) hash.update(chunk);
  }
  return hash.digest("hex");
}

/** The kernel that is in a directory. */
export function kernelAt(linux: Linux, place: BootPlace, name: string): KernelSource {
  const file = (file: KernelFile) => () =>
    readChunks(linux, place.directory, `${place.kernels}/${name}/${file}`);
  return { vmlinuz: file("vmlinuz"), initrd: file("initrd") };
}

function* readChunks(linux: Linux, dirfd: Fd, path: string): Generator<Uint8Array> {
  const fd = linux.openat(dirfd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  try {
    const buffer = new Uint8Array(CHUNK);
    for (let n = linux.read(fd, buffer); n > 0; n = linux.read(fd, buffer)) {
      yield buffer.subarray(0, n);
    }
  } finally {
    linux.close(fd);
  }
}

/** Digest (SHA-256 of `vmlinuz`, then `initrd`, in hex) and sizes in bytes of a kernel. */
export function measureKernel(source: KernelSource): {
  readonly digest: string;
  readonly sizes: Readonly<Record<KernelFile, number>>;
} {
  const hash = createHash("sha256");
  const sizes = { vmlinuz: 0, initrd: 0 };
  for (const file of KERNEL_FILES) {
    for (const chunk of source[file]()) {
      hash.update(chunk);
      sizes[file] += chunk.length;
    }
  }
  return { digest: hash.digest("hex"), sizes };
}

/**
 * Writes a kernel as the one of `artifact`, replacing what is there, and makes it durable. `digest` is what
 * `measureKernel` says: what is read back must have it, or it is an error and the old one stays.
 *
 * Order: both files in a directory of another name, each durable; read back; the name; what had it goes.
 */
export function writeKernel(
  linux: Linux,
  place: BootPlace,
  artifact: string,
  source: KernelSource,
  digest: string,
): void {
  const name = artifactName(artifact);
  makeDirectories(linux, place.directory, place.kernels, DIRECTORY_MODE);
  withDirectory(linux, place.directory, place.kernels, (parent) => {
    discardUnfinished(linux, parent);
    const temporary = temporaryName(linux, parent, name);
    try {
      linux.mkdirat(parent, temporary, DIRECTORY_MODE);
      withDirectory(linux, parent, temporary, (directory) => {
        for (const file of KERNEL_FILES)
          createFile(linux, directory, file, source[file](), FILE_MODE);
        linux.fsync(directory);
        const written = digestFiles(linux, directory);
        if (written !== digest) {
          throw new Error(`read back, it has the digest ${written}; expected ${digest}`);
        }
      });
      exchangeOrRename(linux, parent, temporary, name);
      settleNames(linux, parent);
      discard(linux, parent, temporary, name);
    } catch (error) {
      const path = `${place.path}/${place.kernels}/${name}`.replace("/./", "/");
      try {
        removeTree(linux, parent, temporary);
      } catch {
        // the first error is the one to tell
      }
      throw new Error(`kernel ${path}`, { cause: error });
    }
  });
}

/** Gives `from` the name `to`; what had it is called `from` then. */
function exchangeOrRename(linux: Linux, directory: Fd, from: string, to: string): void {
  const flags = exists(linux, directory, to) ? RENAME_EXCHANGE : 0;
  linux.renameat2(directory, from, directory, to, flags);
}

/** Removes a kernel's directory; false if there is none, or it has to stay (see `discard`). */
export function removeKernel(linux: Linux, place: BootPlace, name: string): boolean {
  if (artifactOf(name) === undefined) throw new Error(`${name} is not a kernel's directory`);
  return (
    ifThere(() =>
      withDirectory(linux, place.directory, place.kernels, (parent) =>
        discard(linux, parent, name),
      ),
    ) ?? false
  );
}

/** Removes what writes that did not come to their end have left. */
export function removeUnfinishedKernels(linux: Linux, place: BootPlace): void {
  ifThere(() =>
    withDirectory(linux, place.directory, place.kernels, (parent) =>
      discardUnfinished(linux, parent),
    ),
  );
}

function discardUnfinished(linux: Linux, parent: Fd): void {
  for (const name of temporaryNames(linux, parent, (one) => artifactOf(one) !== undefined)) {
    discard(linux, parent, name);
  }
}

/** Whether a file is not there or has nothing in it, as after a repair of a FAT file system. */
function isEmpty(linux: Linux, directory: Fd, name: string): boolean {
  return (ifThere(() => linux.statx(directory, name, 0).size) ?? 0) === 0;
}
