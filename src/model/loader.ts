/** Which boot loader has started the system. */

/**
 * `grub-cc` is a GRUB that reads the Boot Loader Specification from the ESP, where systemd-boot does, but sorts entries as
 * other GRUBs do, and counts no boots.
 */
export const LOADERS = ["systemd-boot", "grub", "grub-cc"] as const;
export type Loader = (typeof LOADERS)[number];

/** By what `LoaderInfo` of the Boot Loader Interface says; absent: no EFI, or a loader that does not say. */
export function loaderOf(loaderInfo: string | undefined): Loader | undefined {
  if (loaderInfo === undefined) return undefined;
  const name = loaderInfo.toLowerCase();
  if (name.includes("systemd-boot")) return "systemd-boot";
  if (name.includes("grub cc")) return "grub-cc";
  return name.includes("grub") ? "grub" : undefined;
}

/** Whether boots of a new deployment can be counted with it. */
export function countsBoots(loader: Loader): boolean {
  return loader !== "grub-cc";
}
