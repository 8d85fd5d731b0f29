/** Three-way merges of texts, line by line. */
import { diff3Merge } from "node-diff3";

/**
 * The comparison takes time with the number of pairs of equal lines; texts of a megabyte that are one line over and over
 * are not merged.
 */
const MAX_PAIRS = 4_000_000;

/** What `local` and `image` each made of `base`, in one; `undefined` where both changed the same place. */
export function mergeText(base: string, local: string, image: string): string | undefined {
  const [was, here, there] = [linesOf(base), linesOf(local), linesOf(image)];
  if (equalPairs(was, here) > MAX_PAIRS || equalPairs(was, there) > MAX_PAIRS) return undefined;
  const regions = diff3Merge(here, was, there, { excludeFalseConflicts: true });
  if (regions.some(({ ok }) => ok === undefined)) return undefined;
  return regions.flatMap(({ ok }) => ok ?? []).join("");
}

/** Lines with their ends, so that nothing is lost of them. */
function linesOf(text: string): string[] {
  return text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
}

function equalPairs(one: readonly string[], other: readonly string[]): number {
  const counts = new Map<string, number>();
  for (const line of one) counts.set(line, (counts.get(line) ?? 0) + 1);
  return other.reduce((sum, line) => sum + (counts.get(line) ?? 0), 0);
}
