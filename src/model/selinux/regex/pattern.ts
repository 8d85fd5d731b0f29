/** Parsed patterns: what both dialects of `file_contexts` come down to. They match bytes. */
import { type ByteSet, bytesOf, otherCase, word } from "./byte-set.ts";

/** What holds between two bytes. Words are of ASCII. */
export type Look =
  | "start"
  | "end"
  | "start-of-line"
  | "end-of-line"
  | "start-of-line-crlf"
  | "end-of-line-crlf"
  | "word-boundary"
  | "no-word-boundary"
  | "word-start"
  | "word-end"
  | "word-start-half"
  | "word-end-half";

/** A pattern that a finite automaton can match. `height` is how deep it nests. */
export type Regular =
  | { readonly type: "byte"; readonly byte: number }
  | { readonly type: "set"; readonly set: ByteSet }
  | { readonly type: "look"; readonly look: Look }
  | Sequence<Regular>
  | Choice<Regular>
  | Repeat<Regular>;

export interface Sequence<P> {
  readonly type: "sequence";
  readonly items: readonly P[];
  readonly height: number;
}

export interface Choice<P> {
  readonly type: "choice";
  readonly options: readonly P[];
  readonly height: number;
}

export interface Repeat<P> {
  readonly type: "repeat";
  readonly item: P;
  readonly min: number;
  /** May be `Infinity`. */
  readonly max: number;
  /** Which numbers are tried first; `possessive`: once it has matched, no others are tried. */
  readonly mode: "greedy" | "lazy" | "possessive";
  readonly height: number;
}

/** A pattern that may also remember, look around, or forbid going back: these need backtracking. */
export type Pattern =
  | { readonly type: "byte"; readonly byte: number }
  | { readonly type: "set"; readonly set: ByteSet }
  | { readonly type: "look"; readonly look: Look }
  | Sequence<Pattern>
  | Choice<Pattern>
  | Repeat<Pattern>
  /** Remembers what `item` matched, as group `index`, from 1. */
  | {
      readonly type: "group";
      readonly index: number;
      readonly item: Pattern;
      readonly height: number;
    }
  /** The first way in which `item` matches is the only one that counts. */
  | { readonly type: "atomic"; readonly item: Pattern; readonly height: number }
  | {
      readonly type: "around";
      readonly direction: "ahead" | "behind";
      readonly negative: boolean;
      readonly item: Pattern;
      readonly height: number;
    }
  /** What group `index` matched last, once more. */
  | { readonly type: "reference"; readonly index: number; readonly ignoreCase: boolean };

/** Patterns do not nest deeper. */
const MAX_HEIGHT = 250;

/** How deep a pattern is that holds `items`. Throws if too deep. */
export function heightOver(items: readonly Pattern[]): number {
  let height = 1;
  for (const item of items) if ("height" in item) height = Math.max(height, item.height + 1);
  if (height > MAX_HEIGHT) throw new Error(`more than ${MAX_HEIGHT} levels of nesting`);
  return height;
}

/** One pattern after the other. Sequences inside of it are dissolved. */
export function sequence<P extends Pattern>(items: readonly P[]): P {
  const flat = items.flatMap((item) => (item.type === "sequence" ? (item.items as P[]) : [item]));
  if (flat.length === 1) return flat[0]!;
  return { type: "sequence", items: flat, height: heightOver(flat) } as Pattern as P;
}

/** Any of the patterns. */
export function choice<P extends Pattern>(options: readonly P[]): P {
  if (options.length === 1) return options[0]!;
  return { type: "choice", options, height: heightOver(options) } as Pattern as P;
}

/** One byte; with `ignoreCase` also the same letter in the other case. */
export function byte(value: number, ignoreCase: boolean): Regular {
  if (!ignoreCase || otherCase(value) === value) return { type: "byte", byte: value };
  return { type: "set", set: bytesOf(String.fromCharCode(value, otherCase(value))) };
}

const LF = 0x0a;
const CR = 0x0d;

/** Whether `look` holds between two bytes; -1 where there is none. */
export function holds(look: Look, previous: number, next: number): boolean {
  const wordBefore = previous >= 0 && word[previous] === 1;
  const wordAfter = next >= 0 && word[next] === 1;
  switch (look) {
    case "start":
      return previous < 0;
    case "end":
      return next < 0;
    case "start-of-line":
      return previous < 0 || previous === LF;
    case "end-of-line":
      return next < 0 || next === LF;
    case "start-of-line-crlf":
      return previous < 0 || previous === LF || (previous === CR && next !== LF);
    case "end-of-line-crlf":
      return next < 0 || next === CR || (next === LF && previous !== CR);
    case "word-boundary":
      return wordBefore !== wordAfter;
    case "no-word-boundary":
      return wordBefore === wordAfter;
    case "word-start":
      return !wordBefore && wordAfter;
    case "word-end":
      return wordBefore && !wordAfter;
    case "word-start-half":
      return !wordBefore;
    case "word-end-half":
      return !wordAfter;
  }
}
