/** Unified kernel images of an image that is being built, and addons for them. */
import { sourceOf } from "../../src/formats/byte-source.ts";
import { readPe } from "../../src/formats/pe.ts";
import { readUki, type Uki } from "../../src/formats/uki.ts";
import { addonsOfUki, isAddonFile, isUkiFile, UKI_SUFFIX } from "../../src/formats/uki-names.ts";
import type { Rootfs } from "./rootfs.ts";

const PLACE = "/boot/EFI/Linux";
const MODULES = "/usr/lib/modules";
/** Addons of all kernels. */
const GLOBAL_ADDONS = "/boot/loader/addons";
const MAX_SIZE = 2 ** 29;

/** One file. */
export interface UkiFile {
  readonly path: string;
  /** Its name without what all end in. */
  readonly stem: string;
}

/** The unified kernel images, the one that boots first. */
export function ukisOf(rootfs: Rootfs): UkiFile[] {
  const releases = rootfs.names(MODULES).map((name) => `${MODULES}/${name}`);
  const places = [...directoriesIn(rootfs, PLACE), ...releases];
  return places.flatMap((place) => filesIn(rootfs, place, isUkiFile));
}

/** The addons that go with these, and those for all. */
export function addonsOf(rootfs: Rootfs, ukis: readonly UkiFile[]): UkiFile[] {
  const places = [...ukis.map(({ path }) => addonsOfUki(path)), GLOBAL_ADDONS];
  return places.flatMap((place) => filesIn(rootfs, place, isAddonFile));
}

/** What is in the file. Throws if it cannot be read as what it is said to be. */
export function openUki(rootfs: Rootfs, { path }: UkiFile, kind: Uki["kind"]): Uki {
  const bytes = rootfs.read(path, MAX_SIZE);
  if (bytes === undefined) throw new Error("expected a regular file");
  const uki = readUki(readPe(sourceOf(bytes)));
  if (uki.kind === kind) return uki;
  throw new Error(
    kind === "addon"
      ? "a unified kernel image, expected an addon"
      : "an addon, expected a unified kernel image",
  );
}

/** The directory, and those in it. */
function directoriesIn(rootfs: Rootfs, path: string): string[] {
  const inner = rootfs
    .names(path)
    .map((name) => `${path}/${name}`)
    .filter((one) => rootfs.typeOf(one) === "directory");
  return [path, ...inner.flatMap((one) => directoriesIn(rootfs, one))];
}

function filesIn(rootfs: Rootfs, place: string, take: (name: string) => boolean): UkiFile[] {
  return rootfs
    .names(place)
    .filter(take)
    .map((name) => ({ path: `${place}/${name}`, stem: name.slice(0, -UKI_SUFFIX.length) }))
    .filter(({ path }) => rootfs.typeOf(path) === "file");
}
