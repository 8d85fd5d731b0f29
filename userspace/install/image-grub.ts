/**
 * GRUB as the image brings it: programs that its distribution has signed, with shim before them if it is there. They look for
 * `grub.cfg` in a directory of the EFI system partition that is named after the distribution.
 */
import { ascii, toText } from "../../src/formats/bytestring.ts";
import { type Directory, sortedEntries, type Tree } from "../../src/formats/tree.ts";
import { makeDirectories, replaceFile, withDirectory } from "../../src/linux/directories.ts";
import { readFile } from "../../src/linux/files.ts";
import { type Fd, isErrno, type Linux } from "../../src/linux/linux.ts";
import { filesOf, findFile, lookUp, type RegularContent } from "../../src/model/boot-resources.ts";
import { architectureOf } from "../../src/model/disk-layout.ts";
import { DIRECTORY_MODE, FILE_MODE } from "../bootloader/boot-place.ts";
import { readContent } from "../deployment/image-content.ts";
import type { Repository } from "../repository/repository.ts";
import { EARLY_MARK, earlyConfig, type GrubPlace } from "./grub.ts";

const MAX_PROGRAM = 64 << 20;
const CONFIG = "grub.cfg";
const FALLBACK = "BOOT";
/** Where bootupd has what it puts on the partition, with directories as there. */
const UPDATES = ["usr", "lib", "bootupd", "updates", "EFI"];
/** The same by package and version. */
const PACKAGES = ["usr", "lib", "efi"];

/** Directories below `EFI`, and their files. */
type Files = Map<string, Map<string, RegularContent>>;

export interface ImageGrub {
  /** The directory that is named after the distribution, below `EFI`. */
  readonly vendor: string;
  /** What firmware is to start, below `EFI`. */
  readonly path: string;
  readonly files: ReadonlyMap<string, ReadonlyMap<string, RegularContent>>;
}

/** What the image has for machines of this architecture; `undefined` if that is nothing, or not complete. */
export function findImageGrub(
  repository: Repository,
  tree: Tree,
  architecture: string,
): ImageGrub | undefined {
  const { efi } = architectureOf(architecture);
  const [grub, shim] = [`grub${efi}.efi`, `shim${efi}.efi`];
  const fallback = `BOOT${efi.toUpperCase()}.EFI`;
  const files = bootupdFiles(tree);
  if (files.size === 0) addDebianFiles(repository, tree, efi, files);
  const vendor = [...files.keys()].find(
    (name) => name !== FALLBACK && files.get(name)?.has(grub) === true,
  );
  const own = vendor && files.get(vendor);
  if (!own || !files.get(FALLBACK)?.has(fallback)) return undefined;
  return { vendor, path: `${vendor}/${own.has(shim) ? shim : grub}`, files };
}

function bootupdFiles(tree: Tree): Files {
  const files: Files = new Map();
  const add = (directory: Directory) => {
    for (const [name, inner] of sortedEntries(directory)) {
      const text = toText(name);
      if (inner.type !== "directory" || text === undefined) continue;
      const known = files.get(text) ?? new Map();
      for (const [file, content] of filesOf(inner, [])) {
        const named = toText(file);
        if (named !== undefined) known.set(named, content);
      }
      files.set(text, known);
    }
  };
  const updates = lookUp(tree, UPDATES);
  if (updates?.type === "directory") add(updates);
  const packages = lookUp(tree, PACKAGES);
  if (files.size > 0 || packages?.type !== "directory") return files;
  for (const [, versions] of sortedEntries(packages)) {
    const newest = versions.type === "directory" ? sortedEntries(versions).at(-1)?.[1] : undefined;
    const directory = newest?.type === "directory" ? newest.entries.get(ascii("EFI")) : undefined;
    if (directory?.type === "directory") add(directory);
  }
  return files;
}

/** Debian's packages leave it to grub-install where their programs go; the program itself names the directory. */
function addDebianFiles(repository: Repository, tree: Tree, efi: string, files: Files): void {
  const find = (directory: string, name: string) =>
    findFile(tree, ["usr", "lib", ...directory.split("/"), `${name}${efi}.efi.signed`]);
  const grub = find(`grub/${SIGNED[efi] ?? ""}`, "grub");
  if (grub === undefined) return;
  const program = Buffer.from(readContent(repository, grub, MAX_PROGRAM)).toString("latin1");
  const vendor = /\/EFI\/([a-z][a-z0-9_-]{0,30})\0/.exec(program)?.[1];
  if (vendor === undefined) return;
  const own = new Map([[`grub${efi}.efi`, grub]]);
  const manager = find("shim", "mm");
  if (manager !== undefined) own.set(`mm${efi}.efi`, manager);
  const shim = find("shim", "shim");
  files.set(FALLBACK, new Map([...own, [`BOOT${efi.toUpperCase()}.EFI`, shim ?? grub]]));
  if (shim !== undefined) own.set(`shim${efi}.efi`, shim);
  files.set(vendor, own);
}

/** Directories of Debian's signed programs. */
const SIGNED: Readonly<Record<string, string>> = {
  aa64: "arm64-efi-signed",
  ia32: "i386-efi-signed",
  x64: "x86_64-efi-signed",
};

/** Whether another system's GRUB is configured where this one looks. */
export function isTaken(linux: Linux, esp: Fd, { vendor }: ImageGrub): boolean {
  try {
    const text = Buffer.from(readFile(linux, esp, `EFI/${vendor}/${CONFIG}`, MAX_PROGRAM));
    return !text.includes(EARLY_MARK);
  } catch (error) {
    if (isErrno(error, "ENOENT")) return false;
    throw error;
  }
}

/**
 * Writes the programs, with a configuration that leads to the one in `/boot`, and then, as the last file, what firmware looks
 * for by itself. Returns false if another boot loader is there: then nothing of that directory is written.
 */
export function writeImageGrub(
  linux: Linux,
  esp: Fd,
  repository: Repository,
  { vendor, files }: ImageGrub,
  place: GrubPlace,
): boolean {
  const config = Buffer.from(earlyConfig(place));
  const write = (directory: string) => {
    const programs = [...(files.get(directory) ?? [])];
    makeDirectories(linux, esp, `EFI/${directory}`, DIRECTORY_MODE);
    return withDirectory(linux, esp, `EFI/${directory}`, (fd) => {
      const data = (content: RegularContent) => readContent(repository, content, MAX_PROGRAM);
      const last = programs.findIndex(([name]) => /^BOOT.*\.EFI$/i.test(name));
      const [first] = last < 0 ? [] : programs.splice(last, 1);
      if (first !== undefined && isOther(linux, fd, first[0], data(first[1]))) return false;
      for (const [name, content] of programs)
        replaceFile(linux, fd, name, data(content), FILE_MODE);
      if (directory === vendor) replaceFile(linux, fd, CONFIG, config, FILE_MODE);
      if (first !== undefined) replaceFile(linux, fd, first[0], data(first[1]), FILE_MODE);
      return true;
    });
  };
  for (const directory of files.keys()) if (directory !== FALLBACK) write(directory);
  return write(FALLBACK);
}

function isOther(linux: Linux, directory: Fd, name: string, program: Uint8Array): boolean {
  try {
    return !Buffer.from(readFile(linux, directory, name, MAX_PROGRAM)).equals(program);
  } catch (error) {
    if (isErrno(error, "ENOENT")) return false;
    throw error;
  }
}
