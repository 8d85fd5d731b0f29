/**
 * Boot counters in the file names of boot menu entries (UAPI.1, "Boot counting"): `NAME+LEFT[-DONE].conf`, or `.efi`.
 *
 *     a+3.conf  ->  a+2-1.conf  ->  a+1-2.conf  ->  a+0-3.conf       at each attempt, by the boot loader
 *     a.conf                                                         once an attempt went well, by the system
 */

/** How often an entry that has not proved itself may still be tried, and how often it has been. */
export interface Tries {
  readonly left: number;
  readonly done: number;
}

/** `good`: not counted, or no longer. `bad`: no attempts left. */
export type BootState = "good" | "indeterminate" | "bad";

/** What systemd-boot can count to. */
const MAX = 0x7fffffff;

const COUNTER = /^\+(\d+)(?:-(\d+))?(\.conf|\.efi)$/i;

/**
 * The name without its counter, as it is once the entry has proved itself, and the counter. What only looks like one (in
 * the middle of the name, or too large) is part of the name.
 */
export function splitBootCount(fileName: string): { name: string; tries: Tries | undefined } {
  const { name, left, done } = match(fileName) ?? {};
  if (name === undefined || left === undefined) return { name: fileName, tries: undefined };
  return { name, tries: { left: Number(left), done: Number(done ?? "0") } };
}

/**
 * The name with a counter, or without any. `DONE` is left out while it is 0. Numbers get leading zeros up to `width`
 * digits, so that a boot loader that cannot make names longer can count on. Throws for a name without .conf or .efi.
 */
export function joinBootCount(name: string, tries: Tries | undefined, width = 1): string {
  if (tries === undefined) return name;
  const dot = name.length - 5 + (/\.efi$/i.test(name) ? 1 : 0);
  if (!/\.(conf|efi)$/i.test(name) || dot === 0) {
    throw new Error(`boot menu entry ${JSON.stringify(name)}: expected a name that ends in .conf`);
  }
  const digits = (count: number): string => {
    if (!Number.isInteger(count) || count < 0 || count > MAX) {
      throw new Error(`boot menu entry ${JSON.stringify(name)}: cannot count ${count} tries`);
    }
    return `${count}`.padStart(width, "0");
  };
  const done = tries.done === 0 && width === 1 ? "" : `-${digits(tries.done)}`;
  return `${name.slice(0, dot)}+${digits(tries.left)}${done}${name.slice(dot)}`;
}

/** The name that the boot loader gives the entry when it starts it; as many digits as there are now. */
export function afterAttempt(fileName: string): string {
  const { name, left, done } = match(fileName) ?? {};
  if (name === undefined || left === undefined) return fileName;
  const tries = {
    left: Math.max(Number(left) - 1, 0),
    done: Math.min(Number(done ?? "0") + 1, MAX),
  };
  const fixed = left.length > 1 && left.length === done?.length;
  return joinBootCount(name, tries, fixed ? left.length : 1);
}

/** What a counter says. */
export function bootState(tries: Tries | undefined): BootState {
  if (tries === undefined) return "good";
  return tries.left > 0 ? "indeterminate" : "bad";
}

function match(
  fileName: string,
): { name: string; left: string; done: string | undefined } | undefined {
  const plus = fileName.lastIndexOf("+");
  if (plus <= 0) return undefined;
  const [, left, done, suffix] = COUNTER.exec(fileName.slice(plus)) ?? [];
  if (left === undefined || Number(left) > MAX || Number(done ?? "0") > MAX) return undefined;
  return { name: fileName.slice(0, plus) + suffix, left, done };
}
