/** Three-way merges of texts, line by line. */
import { diff3Merge } from "node-diff3";

/**
 * The comparison takes time with the number of pairs of equal lines, times that of lines. This many steps take about a
 * second; texts of more (some 20,000 lines that are all different) are not merged.
 */
const MAX_STEPS = 400_000_000;

/** What `local` and `image` each made of `base`, in one; `undefined` where both changed the same place. */
export function mergeText(base: string, local: string, image: string): string | undefined {
  const [was, here, there] = [linesOf(base), linesOf(local), linesOf(image)];
  const head = commonLines(was, here, there, (line) => line);
  const shortest = Math.min(was.length, here.length, there.length) - head;
  const tail = commonLines(was, here, there, (line, { length }) => length - 1 - line, shortest);
  const [old, mine, theirs] = [was, here, there].map((all) => all.slice(head, all.length - tail));
  if (steps(old!, mine!) > MAX_STEPS || steps(old!, theirs!) > MAX_STEPS) return undefined;
  const regions = diff3Merge(mine!, old!, theirs!, { excludeFalseConflicts: true });
  if (regions.some(({ ok }) => ok === undefined)) return undefined;
  const middle = regions.flatMap(({ ok }) => ok ?? []);
  return [...was.slice(0, head), ...middle, ...was.slice(was.length - tail)].join("");
}

/** How many lines at an end are the same in all three; `at` counts from that end. */
function commonLines(
  a: readonly string[],
  b: readonly string[],
  c: readonly string[],
  at: (line: number, of: readonly string[]) => number,
  most = Math.min(a.length, b.length, c.length),
): number {
  for (let line = 0; ; line++) {
    if (line >= most) return most;
    const one = a[at(line, a)];
    if (one !== b[at(line, b)] || one !== c[at(line, c)]) return line;
  }
}

/** Lines with their ends, so that nothing is lost of them. */
function linesOf(text: string): string[] {
  return text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
}

function steps(one: readonly string[], other: readonly string[]): number {
  const counts = new Map<string, number>();
  for (const line of one) counts.set(line, (counts.get(line) ?? 0) + 1);
  const pairs = other.reduce((sum, line) => sum + (counts.get(line) ?? 0), 0);
  return pairs * Math.min(one.length, other.length);
}
