/**
 * The order in which boot loaders show the entries of `loader/entries`. The first one is booted by default, unless
 * something else was chosen.
 */
import { splitBootCount } from "../formats/boot-count.ts";
import { comparePackageNames } from "../formats/rpm-version.ts";
import { compareUapiVersions } from "../formats/uapi-version.ts";

/** What an entry is sorted by. */
export interface MenuPosition {
  /** Name of its file, with the boot counter. */
  readonly fileName: string;
  readonly sortKey?: string | undefined;
  readonly machineId?: string | undefined;
  readonly version?: string | undefined;
}

/**
 * systemd-boot: entries without attempts left last; then those with a sort key before those without, by sort key,
 * machine id, version (newest first); then by file name (newest first). Negative if `a` is shown before `b`.
 */
export function compareSystemdBoot(a: MenuPosition, b: MenuPosition): number {
  const x = identify(a);
  const y = identify(b);
  return (
    Number(x.tries?.left === 0) - Number(y.tries?.left === 0) ||
    Number(!a.sortKey) - Number(!b.sortKey) ||
    (a.sortKey ? compareWithinKey(a, b) : 0) ||
    compareUapiVersions(y.id, x.id) ||
    compareTries(x, y)
  );
}

function compareWithinKey(a: MenuPosition, b: MenuPosition): number {
  return (
    compareText(a.sortKey ?? "", b.sortKey ?? "") ||
    compareText(a.machineId ?? "", b.machineId ?? "") ||
    compareUapiVersions(b.version ?? "", a.version ?? "")
  );
}

/** Of two that are the same but for their counters, the one that is nearer to success; systemd-boot may take either. */
function compareTries(a: Identity, b: Identity): number {
  if (a.tries === undefined || b.tries === undefined) {
    return Number(a.tries !== undefined) - Number(b.tries !== undefined);
  }
  return b.tries.left - a.tries.left || a.tries.done - b.tries.done;
}

/**
 * GRUB with Fedora's `blscfg`: by file name alone, read as NAME-VERSION-RELEASE, newest first. Neither sort keys nor
 * versions inside the entries count, nor do boot counters mean anything. Negative if `a` is shown before `b`.
 *
 * Of two entries that are equal in this order (`a-1.0-1.conf`, `a-1_0-1.conf`) GRUB shows one only.
 */
export function compareGrub(a: MenuPosition, b: MenuPosition): number {
  return comparePackageNames(withoutSuffix(b.fileName), withoutSuffix(a.fileName));
}

function withoutSuffix(fileName: string): string {
  return fileName.endsWith(".conf") ? fileName.slice(0, -".conf".length) : fileName;
}

type Identity = ReturnType<typeof identify>;

/** What systemd-boot calls the entry: without the counter, in lower case. */
function identify({ fileName }: MenuPosition) {
  const { name, tries } = splitBootCount(fileName);
  return { id: name.toLowerCase(), tries };
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}
