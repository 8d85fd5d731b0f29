/** Which of what somebody has mounted for an installation is the EFI system partition. */
import { realpathSync } from "node:fs";
import { join } from "node:path";
import type { BootLoader } from "../../src/formats/install-toml.ts";
import { HintedError } from "../../src/linux/hint.ts";
import { chooseEsp, isXbootldr, partitionTypeOf } from "../../src/model/boot-partitions.ts";
import type { listBlockDevices } from "../bootloader/block-devices.ts";
import type { Mounted } from "./mount-arguments.ts";

/** Where EFI system partitions are mounted, below the root. */
export const ESP_PLACES = ["efi", "boot/efi", "boot"];

export interface EspWishes {
  /** The directory on which it is mounted; absent: one of the usual ones. */
  readonly esp: string | undefined;
  readonly bootLoader: BootLoader;
}

/**
 * Finds it: `mounted` says what is mounted on a path, `list` what block devices there are. What is no partition of a type,
 * as in an image of a file system, may be one; an extended boot loader partition is none, though it may be FAT and is mounted on
 * `/boot`. `undefined`: there is none, and none is needed. Throws if a boot loader needs one.
 */
export function findEsp(
  root: string,
  { esp, bootLoader }: EspWishes,
  mounted: (path: string) => Mounted | undefined,
  list: typeof listBlockDevices,
): Mounted | undefined {
  const typed = (found: Mounted) => {
    const { major, minor } = found.mount;
    return { found, partitionType: partitionTypeOf(list(), `${major}:${minor}`) };
  };
  if (esp !== undefined) {
    const path = realpathSync(esp);
    const found = mounted(path);
    if (found === undefined) {
      throw new HintedError(
        `${path} is not a mount point`,
        "mount the EFI system partition there: firmware looks into no other",
      );
    }
    if (bootLoader === "none" || !isXbootldr(typed(found))) return found;
    throw new HintedError(
      `${path} is an extended boot loader partition: firmware starts no boot loader from it`,
      "mount the EFI system partition, and name its directory by --esp",
    );
  }
  const candidates = ESP_PLACES.map((place) => mounted(join(root, place)))
    .filter((place) => place?.mount.type === "vfat")
    .map((place) => place!);
  if (bootLoader === "none") return candidates[0];
  const partitions = candidates.map(typed);
  const chosen = chooseEsp(partitions);
  if (chosen !== undefined) return chosen.found;
  const [other] = candidates;
  if (other === undefined) {
    throw new HintedError(
      `no EFI system partition is mounted below ${root}`,
      `mount it on ${root}/boot/efi, or name its directory by --esp`,
    );
  }
  throw new HintedError(
    `no EFI system partition is mounted below ${root}: ${other.path} is an extended boot loader partition`,
    `mount it on ${root}/efi, or name its directory by --esp`,
  );
}
