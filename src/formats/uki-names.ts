/** How files of unified kernel images are called, and those of their addons. Specification: systemd-stub(7). */

/** What both end in. */
export const UKI_SUFFIX = ".efi";
const ADDON_SUFFIX = ".addon.efi";
const ADDONS_SUFFIX = ".extra.d";

export function isAddonFile(name: string): boolean {
  return name.endsWith(ADDON_SUFFIX);
}

export function isUkiFile(name: string): boolean {
  return name.endsWith(UKI_SUFFIX) && !isAddonFile(name);
}

/** The directory with the addons of an image, by the name or the path of its file. */
export function addonsOfUki(uki: string): string {
  return uki + ADDONS_SUFFIX;
}

/** The image that a directory of addons is for; `undefined` if it is none. */
export function ukiOfAddons(name: string): string | undefined {
  return name.endsWith(ADDONS_SUFFIX) ? name.slice(0, -ADDONS_SUFFIX.length) : undefined;
}
