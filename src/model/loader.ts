/** Which boot loader has started the system. */

export type Loader = "systemd-boot" | "grub";

/** By what `LoaderInfo` of the Boot Loader Interface says; absent: no EFI, or a loader that does not say. */
export function loaderOf(loaderInfo: string | undefined): Loader | undefined {
  if (loaderInfo === undefined) return undefined;
  if (loaderInfo.includes("systemd-boot")) return "systemd-boot";
  // A GRUB that reads the Boot Loader Specification as systemd-boot does, from the ESP.
  if (loaderInfo.includes("grub cc")) return "systemd-boot";
  return /grub/i.test(loaderInfo) ? "grub" : undefined;
}
