/**
 * The order of versions that rpm has, and the order of package names (NAME-VERSION-RELEASE) that GRUB with Fedora's
 * `blscfg` sorts boot menu entries by.
 */

/**
 * Negative if `a` is older than `b`, 0 if they are the same version, positive if it is newer; rpm-version(7).
 *
 * @param caret whether `^` means "after the version without it", as in rpm. To GRUB it is a separator as any other.
 */
export function compareRpmVersions(a: string, b: string, caret = true): number {
  if (a === b) return 0;
  const skipped = (char: string) => !/[A-Za-z0-9~]/.test(char) && !(caret && char === "^");
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    while (i < a.length && skipped(a[i]!)) i++;
    while (j < b.length && skipped(b[j]!)) j++;

    if (a[i] === "~" || b[j] === "~") {
      if (a[i] !== "~") return 1;
      if (b[j] !== "~") return -1;
      i++;
      j++;
      continue;
    }
    if (caret && (a[i] === "^" || b[j] === "^")) {
      // after the end, before any further part
      if (i >= a.length) return -1;
      if (j >= b.length) return 1;
      if (a[i] !== "^") return 1;
      if (b[j] !== "^") return -1;
      i++;
      j++;
      continue;
    }
    if (i >= a.length || j >= b.length) break;

    const numeric = /[0-9]/.test(a[i]!);
    const is = numeric ? /[0-9]/ : /[A-Za-z]/;
    const x = part(a, i, is);
    const y = part(b, j, is);
    // a number is newer than letters
    if (y === "") return numeric ? 1 : -1;
    const order = numeric ? compareDigits(x, y) : compareBytes(x, y);
    if (order !== 0) return order;
    i += x.length;
    j += y.length;
  }
  return Number(i < a.length) - Number(j < b.length);
}

/** A package name's parts. As in GRUB, the last `-` is before the release, and the one before it before the version. */
export interface PackageName {
  readonly name: string;
  /** Empty without a `-`. */
  readonly version: string;
  /** Empty with fewer than two. */
  readonly release: string;
}

/** Splits NAME-VERSION-RELEASE; a name with one `-` only has no release. */
export function splitPackageName(text: string): PackageName {
  const last = text.lastIndexOf("-");
  if (last < 0) return { name: text, version: "", release: "" };
  const tail = text.slice(last + 1);
  const before = text.slice(0, last).lastIndexOf("-");
  if (before < 0) return { name: text.slice(0, last), version: tail, release: "" };
  return { name: text.slice(0, before), version: text.slice(before + 1, last), release: tail };
}

/** Compares package names as GRUB does: name, then version, then release, each as a version. */
export function comparePackageNames(a: string, b: string): number {
  const x = splitPackageName(a);
  const y = splitPackageName(b);
  return (
    compareRpmVersions(x.name, y.name, false) ||
    compareRpmVersions(x.version, y.version, false) ||
    compareRpmVersions(x.release, y.release, false)
  );
}

function part(text: string, start: number, is: RegExp): string {
  let end = start;
  while (end < text.length && is.test(text[end]!)) end++;
  return text.slice(start, end);
}

function compareDigits(a: string, b: string): number {
  const x = a.replace(/^0+/, "");
  const y = b.replace(/^0+/, "");
  return Math.sign(x.length - y.length) || compareBytes(x, y);
}

function compareBytes(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}
