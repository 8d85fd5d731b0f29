/**
 * Kernels on the boot partition, in bootc's layout, whose paths are in entries too:
 *
 *     bootc_composefs-ID/vmlinuz, …/initrd            a kernel and its initramfs; for each pair that differs
 *     bootc_composefs-ID.efi                          a unified kernel image; for each deployment that boots one
 *     bootc_composefs-ID.efi.extra.d/NAME.addon.efi   its addons, where systemd-stub finds them
 *
 * What a half-done write of anybody has left is seen as incomplete, never an error.
 */
import { toText } from "../../src/formats/bytestring.ts";
import { addonsOfUki, isAddonFile, ukiOfAddons } from "../../src/formats/uki-names.ts";
import { DT_DIR, DT_REG } from "../../src/linux/constants.ts";
import { ifThere, makeDirectories, withDirectory } from "../../src/linux/directories.ts";
import { type Fd, isErrno, type Linux } from "../../src/linux/linux.ts";
import { artifactName, artifactOf, isUkiName, ukiName } from "../../src/model/menu-entry.ts";
import { type Content, contentAt, discardUnplaced, measure, putInPlace } from "./aside.ts";
import { type BootPlace, DIRECTORY_MODE } from "./boot-place.ts";
import { makeRoom } from "./directory-room.ts";
import { discard } from "./discard.ts";

/** The files of a kernel's directory, in the order in which they are digested. */
export const KERNEL_FILES = ["vmlinuz", "initrd"] as const;

export interface StoredKernel {
  /** What entries know it by: its name without the prefix (which early releases of bootc did not write). */
  readonly artifact: string;
  /** Its name: that of a directory, or of a file. */
  readonly name: string;
  /** Whether all its files are there, with something in them. */
  readonly complete: boolean;
}

export type KernelSource =
  | { readonly kind: "linux"; readonly vmlinuz: Content; readonly initrd: Content }
  | {
      readonly kind: "uki";
      readonly uki: Content;
      /** By the names of their files. */
      readonly addons: ReadonlyMap<string, Content>;
    };

/** What a kernel is called that is the one of `artifact`. */
export function nameOf({ kind }: Pick<KernelSource, "kind">, artifact: string): string {
  return kind === "uki" ? ukiName(artifact) : artifactName(artifact);
}

/** Where kernels of this name are, relative to the place. */
function parentOf({ path, kernels, ukis }: BootPlace, name: string): string {
  if (!isUkiName(name)) return kernels;
  if (ukis === undefined) throw new Error(`${path} is no place for unified kernel images`);
  return ukis;
}

/** Our kernels, sorted by name. */
export function listKernels(linux: Linux, place: BootPlace): StoredKernel[] {
  const found = [...listDirectories(linux, place), ...listUkis(linux, place)];
  return found.sort((a, b) => (a.name < b.name ? -1 : 1));
}

function listDirectories(linux: Linux, place: BootPlace): readonly StoredKernel[] {
  return within(linux, place, place.kernels, (parent) =>
    linux.readdir(parent).flatMap(({ name: bytes, type }) => {
      const name = toText(bytes) ?? "";
      const artifact = artifactOf(name);
      if (artifact === undefined || isUkiName(name) || type !== DT_DIR) return [];
      const complete = withDirectory(linux, parent, name, (kernel) =>
        KERNEL_FILES.every((file) => !isEmpty(linux, kernel, file)),
      );
      return { artifact, name, complete };
    }),
  );
}

function listUkis(linux: Linux, place: BootPlace): readonly StoredKernel[] {
  if (place.ukis === undefined) return [];
  return within(linux, place, place.ukis, (parent) => {
    const names = linux.readdir(parent).flatMap(({ name: bytes, type }) => {
      const name = toText(bytes) ?? "";
      if (type === DT_REG) return name;
      return (type === DT_DIR ? ukiOfAddons(name) : undefined) ?? [];
    });
    return [...new Set(names)].filter(isUkiName).flatMap((name) => {
      const artifact = artifactOf(name);
      return artifact === undefined
        ? []
        : { artifact, name, complete: !isEmpty(linux, parent, name) };
    });
  });
}

/** What each of the complete kernels takes, in bytes, by its name. */
export function kernelSizes(linux: Linux, place: BootPlace): Map<string, number> {
  return new Map(
    listKernels(linux, place)
      .filter(({ complete }) => complete)
      .map(({ name }) => [name, sizeOf(linux, place, name)]),
  );
}

function sizeOf(linux: Linux, place: BootPlace, name: string): number {
  return withDirectory(linux, place.directory, parentOf(place, name), (parent) =>
    filesOf(linux, parent, name).reduce((sum, path) => sum + linux.statx(parent, path, 0).size, 0),
  );
}

/** The files of a kernel, as paths. */
function filesOf(linux: Linux, parent: Fd, name: string): string[] {
  if (!isUkiName(name)) return KERNEL_FILES.map((file) => `${name}/${file}`);
  return [name, ...addonsOf(linux, parent, name).map((file) => `${addonsOfUki(name)}/${file}`)];
}

/** The names of a UKI's addons, sorted. */
function addonsOf(linux: Linux, parent: Fd, name: string): string[] {
  const found = ifThere(() =>
    withDirectory(linux, parent, addonsOfUki(name), (directory) =>
      linux.readdir(directory).map(({ name: bytes }) => toText(bytes) ?? ""),
    ),
  );
  return (found ?? []).filter(isAddonFile).sort();
}

/**
 * Finds a complete directory that holds this very kernel: one whose files together have the digest (SHA-256 of `vmlinuz`,
 * then `initrd`, in hex). What cannot be read is not it, nor is one without the prefix, which new entries do not name.
 */
export function findKernel(
  linux: Linux,
  place: BootPlace,
  digest: string,
): StoredKernel | undefined {
  return listDirectories(linux, place).find(
    ({ artifact, name, complete }) =>
      complete && name === artifactName(artifact) && digestOf(linux, place, name) === digest,
  );
}

/** Whether a place has this very kernel, whole, under this name. `digest` is what `measureKernel` says. */
export function holdsKernel(linux: Linux, place: BootPlace, name: string, digest: string): boolean {
  const complete = listKernels(linux, place).some((one) => one.name === name && one.complete);
  return complete && digestOf(linux, place, name) === digest;
}

function digestOf(linux: Linux, place: BootPlace, name: string): string | undefined {
  try {
    return measureKernel(kernelAt(linux, place, name)).digest;
  } catch (error) {
    if (isErrno(error, "ENOENT", "EIO", "EACCES")) return undefined;
    throw error;
  }
}

/** The kernel that a place has under a name. */
export function kernelAt(linux: Linux, place: BootPlace, name: string): KernelSource {
  const parent = parentOf(place, name);
  const path = `${parent}/${name}`;
  const at = (file: string) => contentAt(linux, place.directory, file);
  if (!isUkiName(name)) {
    return { kind: "linux", vmlinuz: at(`${path}/vmlinuz`), initrd: at(`${path}/initrd`) };
  }
  const addons = within(linux, place, parent, (directory) => addonsOf(linux, directory, name));
  return {
    kind: "uki",
    uki: at(path),
    addons: new Map(addons.map((file) => [file, at(`${addonsOfUki(path)}/${file}`)])),
  };
}

/**
 * What tells a kernel from another, SHA-256 in hex: of `vmlinuz`, then `initrd`; of a UKI without its addons. And the size of
 * all its files, in bytes.
 */
export function measureKernel(source: KernelSource): { digest: string; size: number } {
  if (source.kind === "linux") return measure([source.vmlinuz, source.initrd]);
  const { digest, size } = measure([source.uki]);
  return { digest, size: size + measure(source.addons.values()).size };
}

/**
 * Writes a kernel as the one of `artifact`, replacing what is there, and makes it durable. `digest` is what
 * `measureKernel` says: what is read back must have it, or it is an error and the old one stays.
 *
 * Order: a UKI's addons; the kernel. Each is whole and durable under another name before it gets its own.
 */
export function writeKernel(
  linux: Linux,
  place: BootPlace,
  artifact: string,
  source: KernelSource,
  digest: string,
): void {
  const name = nameOf(source, artifact);
  const path = parentOf(place, name);
  try {
    makeDirectories(linux, place.directory, path, DIRECTORY_MODE);
    withDirectory(linux, place.directory, path, (parent) => {
      makeRoom(linux, parent);
      discardUnfinished(linux, parent);
      if (source.kind === "linux") {
        const files = new Map(KERNEL_FILES.map((file) => [file, source[file]]));
        putInPlace(linux, parent, name, files, digest);
        return;
      }
      writeAddons(linux, parent, addonsOfUki(name), source.addons);
      putInPlace(linux, parent, name, source.uki, digest);
    });
  } catch (error) {
    throw new Error(`kernel ${`${place.path}/${path}/${name}`.replace("/./", "/")}`, {
      cause: error,
    });
  }
}

function writeAddons(
  linux: Linux,
  parent: Fd,
  name: string,
  addons: ReadonlyMap<string, Content>,
): void {
  if (addons.size === 0) discard(linux, parent, name);
  else putInPlace(linux, parent, name, addons, measure(addons.values()).digest);
}

/**
 * Removes a kernel; false if there is none, or it has to stay (see `discard`).
 *
 * Order: the kernel; a UKI's addons.
 */
export function removeKernel(linux: Linux, place: BootPlace, name: string): boolean {
  if (artifactOf(name) === undefined) throw new Error(`${name} is no name of a kernel`);
  const [removed = false] = within(linux, place, parentOf(place, name), (parent) => {
    const parts = isUkiName(name) ? [name, addonsOfUki(name)] : [name];
    return [parts.map((part) => discard(linux, parent, part)).includes(true)];
  });
  return removed;
}

/** Removes what writes that did not come to their end have left. */
export function removeUnfinishedKernels(linux: Linux, place: BootPlace): void {
  for (const path of [place.kernels, place.ukis]) {
    if (path === undefined) continue;
    within(linux, place, path, (parent) => {
      discardUnfinished(linux, parent);
      return [];
    });
  }
}

function discardUnfinished(linux: Linux, parent: Fd): void {
  discardUnplaced(linux, parent, (name) => artifactOf(ukiOfAddons(name) ?? name) !== undefined);
}

/** What a directory of the place gives; nothing if there is none. */
function within<T>(
  linux: Linux,
  { directory }: BootPlace,
  path: string,
  action: (parent: Fd) => readonly T[],
): readonly T[] {
  return ifThere(() => withDirectory(linux, directory, path, action)) ?? [];
}

/** Whether a file is not there or has nothing in it, as after a repair of a FAT file system. */
function isEmpty(linux: Linux, directory: Fd, name: string): boolean {
  return (ifThere(() => linux.statx(directory, name, 0).size) ?? 0) === 0;
}
