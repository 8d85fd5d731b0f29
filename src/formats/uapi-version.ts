/**
 * The order of version strings in the UAPI Version Format Specification (UAPI.10), by which systemd-boot sorts. Like
 * rpm's, but not the same (rpm-version).
 */

/**
 * Negative if `a` is older than `b`, 0 if they are the same version, positive if it is newer. Follows what systemd does
 * where the specification leaves room.
 */
export function compareUapiVersions(a: string, b: string): number {
  let i = 0;
  let j = 0;
  for (;;) {
    while (i < a.length && !isVersionChar(a[i]!)) i++;
    while (j < b.length && !isVersionChar(b[j]!)) j++;

    // a pre-release comes before even the end
    if (a[i] === "~" || b[j] === "~") {
      if (a[i] !== "~") return 1;
      if (b[j] !== "~") return -1;
      i++;
      j++;
    }
    if (i >= a.length || j >= b.length) return Number(i < a.length) - Number(j < b.length);

    for (const separator of SEPARATORS) {
      if (a[i] !== separator && b[j] !== separator) continue;
      if (a[i] !== separator) return 1;
      if (b[j] !== separator) return -1;
      i++;
      j++;
    }

    const digits = isDigit(a[i]) || isDigit(b[j]);
    const endA = endOf(a, i, digits ? isDigit : isLetter);
    const endB = endOf(b, j, digits ? isDigit : isLetter);
    const order = digits
      ? compareNumbers(a.slice(i, endA), b.slice(j, endB))
      : compareText(a.slice(i, endA), b.slice(j, endB));
    if (order !== 0) return order;
    i = endA;
    j = endB;
  }
}

/** In the order in which they are looked at. The string that goes on without one is newer, also with `^`. */
const SEPARATORS = ["-", "^", "."] as const;

function isVersionChar(char: string): boolean {
  return isLetter(char) || isDigit(char) || "~-^.".includes(char);
}

function isDigit(char: string | undefined): boolean {
  return char !== undefined && char >= "0" && char <= "9";
}

function isLetter(char: string | undefined): boolean {
  return char !== undefined && ((char >= "a" && char <= "z") || (char >= "A" && char <= "Z"));
}

function endOf(text: string, start: number, is: (char: string | undefined) => boolean): number {
  let end = start;
  while (end < text.length && is(text[end])) end++;
  return end;
}

/** Of any length; no digits at all come first. */
function compareNumbers(a: string, b: string): number {
  if (a === "" || b === "") return Number(a !== "") - Number(b !== "");
  const x = a.replace(/^0+/, "");
  const y = b.replace(/^0+/, "");
  return x.length - y.length || compareText(x, y);
}

/** The shorter one first if they are the same up to its end. */
function compareText(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}
