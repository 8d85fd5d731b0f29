/** What a unified kernel image on a boot partition boots, by the command line that is in it. */
import { readPe } from "../../src/formats/pe.ts";
import { readUki, ukiComposefs } from "../../src/formats/uki.ts";
import { AT_EMPTY_PATH, O_CLOEXEC, O_NOFOLLOW, O_RDONLY } from "../../src/linux/constants.ts";
import { fileSource } from "../../src/linux/file-source.ts";
import type { Linux } from "../../src/linux/linux.ts";
import type { MenuEntry } from "../../src/model/menu-entry.ts";
import type { BootPlace } from "./boot-place.ts";

/**
 * The entry with what its unified kernel image says about fs-verity: whether a profile of it boots the image without, too. One
 * that cannot be read boots nothing: the entry stays as it is.
 */
export function withUkiFacts(linux: Linux, place: BootPlace, entry: MenuEntry): MenuEntry {
  if (entry.bootType !== "uki") return entry;
  try {
    const path = (entry.bls.kernel?.path ?? "").replace(/^\/+/, "");
    const fd = linux.openat(place.directory, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    try {
      const { size } = linux.statx(fd, "", AT_EMPTY_PATH);
      const uki = readUki(readPe(fileSource(linux, fd, size)));
      const images = uki.profiles.flatMap((profile) => ukiComposefs(uki, profile));
      const insecure = images.some((one) => one.digest === entry.id && one.insecure);
      return { ...entry, insecure };
    } finally {
      linux.close(fd);
    }
  } catch {
    return entry;
  }
}
