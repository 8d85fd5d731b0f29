/**
 * Kernel arguments as lists, each as it stands on the command line, with its quotes: adding, deleting, replacing, and
 * what has changed from one list to another.
 *
 * Two arguments are the same if the kernel takes them for the same: `-` and `_` are one in the name, and it makes no
 * difference whether the quotes are around the value or around the whole.
 */
import { parseArgument, splitCmdline } from "./cmdline.ts";

/** What is to be changed about a list. Deletions come first. */
export interface KargChanges {
  readonly added: readonly string[];
  readonly deleted: readonly string[];
}

/**
 * Checks what a person gave as one argument, or as several in one text, and splits it. Throws an error if a quote is not
 * closed, or if there is something in it that cannot be on a command line.
 */
export function parseKargs(text: string): string[] {
  const fail = (why: string) =>
    new Error(`kernel argument ${JSON.stringify(text.slice(0, 200))}: ${why}`);
  if (/[\0-\x08\x0e-\x1f\n\r]/.test(text)) throw fail("expected printable characters");
  if ((text.split('"').length - 1) % 2 !== 0) throw fail('expected another "');
  const kargs = splitCmdline(text);
  if (kargs.length === 0) throw fail("expected a name");
  if (kargs.some((karg) => parseArgument(karg).key === "")) throw fail("expected a name before =");
  return kargs;
}

/** Whether two arguments are the same to the kernel, value included. */
export function sameKarg(a: string, b: string): boolean {
  return identity(a) === identity(b);
}

/** Whether two arguments set the same parameter. */
export function sameKargName(a: string, b: string): boolean {
  return nameOf(a) === nameOf(b);
}

/** The list with an argument at its end, unless the same one is in it. Others of that name stay: there may be several. */
export function addKarg(list: readonly string[], karg: string): readonly string[] {
  return list.some((other) => sameKarg(other, karg)) ? list : [...list, karg];
}

/** The list without all that are the same as an argument. */
export function deleteKarg(list: readonly string[], karg: string): readonly string[] {
  return list.filter((other) => !sameKarg(other, karg));
}

/** The list without all arguments of a name, whatever their values. */
export function deleteKargName(list: readonly string[], name: string): readonly string[] {
  return list.filter((other) => !sameKargName(other, name));
}

/** The list with an argument in place of the first one of its name, further ones gone; at the end if there is none. */
export function replaceKarg(list: readonly string[], karg: string): readonly string[] {
  const first = list.findIndex((other) => sameKargName(other, karg));
  if (first < 0) return [...list, karg];
  return list.flatMap((other, i) => {
    if (i === first) return [karg];
    return sameKargName(other, karg) ? [] : [other];
  });
}

/** What one list has that another has not, and the other way round. */
export function kargChanges(before: readonly string[], after: readonly string[]): KargChanges {
  return { added: without(after, before), deleted: without(before, after) };
}

/** The list with changes made. */
export function applyKargChanges(
  list: readonly string[],
  { added, deleted }: KargChanges,
): readonly string[] {
  const kept = without(list, deleted);
  const seen = new Set(kept.map(identity));
  const news = added.filter((karg) => {
    const fresh = !seen.has(identity(karg));
    seen.add(identity(karg));
    return fresh;
  });
  return [...kept, ...news];
}

function without(list: readonly string[], others: readonly string[]): string[] {
  const gone = new Set(others.map(identity));
  return list.filter((karg) => !gone.has(identity(karg)));
}

/** The same text for all that is the same to the kernel. */
function identity(karg: string): string {
  const { value } = parseArgument(karg);
  return value === undefined ? nameOf(karg) : `${nameOf(karg)}=${value}`;
}

function nameOf(karg: string): string {
  return parseArgument(karg).key.replaceAll("-", "_");
}
