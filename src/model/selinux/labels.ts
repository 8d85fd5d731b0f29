/**
 * Which SELinux label a path has, by the lines of `file_contexts`.
 *
 * The rules are those of composefs-rs, as labels decide the image's digest: of all lines that match, the last one counts, in
 * the order of the files. That is not what libselinux does, which prefers lines without special characters.
 */
import { type ByteString, fromText, toBytes } from "../../formats/bytestring.ts";
import { type FileContext, type FileType, NO_CONTEXT } from "../../formats/file-contexts.ts";
import { Automaton, type State } from "./regex/automaton.ts";
import { parseAutomatonSyntax, UnsupportedPatternError } from "./regex/automaton-syntax.ts";
import { compileBacktracking } from "./regex/backtracking.ts";
import { parseBacktrackingSyntax } from "./regex/backtracking-syntax.ts";
import type { Regular } from "./regex/pattern.ts";

/** A path to be labelled, and the paths below it. */
export interface Place {
  /** The path whose label counts; for one below an alias that is not where the file is. */
  readonly path: ByteString;
  readonly state: State;
}

/** A line whose pattern the automaton cannot match. */
interface SlowLine {
  readonly index: number;
  readonly place: string;
  readonly matches: (text: string) => boolean;
}

export class Labels {
  private readonly contexts: readonly (Uint8Array | undefined)[];
  private readonly automaton: Automaton;
  /** The last line first. */
  private readonly slow: readonly SlowLine[];
  private readonly aliases: ReadonlyMap<ByteString, ByteString>;

  /** Throws if a pattern is wrong or not supported, naming its line. */
  constructor(
    lines: readonly FileContext[],
    aliases: ReadonlyMap<ByteString, ByteString> = new Map(),
  ) {
    this.aliases = aliases;
    this.contexts = internContexts(lines);
    const slow: SlowLine[] = [];
    const patterns = lines.map((line, index): Regular | undefined => {
      const pattern = parseLine(line);
      if (typeof pattern !== "function") return pattern;
      slow.unshift({ index, place: describe(line), matches: pattern });
      return undefined;
    });
    this.slow = slow;
    this.automaton = new Automaton(patterns, (index) => describe(lines[index]!));
  }

  /** The root directory. It has no alias. */
  root(): Place {
    return this.place("/" as ByteString);
  }

  /** The entry `name` of a directory, or what it is an alias of. */
  entry({ path, state }: Place, name: ByteString): Place {
    const tail = path.endsWith("/") ? name : `/${name}`;
    const here = (path + tail) as ByteString;
    const original = this.aliases.get(here);
    if (original !== undefined) return this.place(original);
    return { path: here, state: this.automaton.read(state, tail) };
  }

  /** An absolute path, whose directories may be aliases. */
  at(path: ByteString): Place {
    const names = path.split("/").filter((name) => name !== "") as ByteString[];
    return names.reduce((place, name) => this.entry(place, name), this.root());
  }

  /** The label of a file of that type at that place; the same object for the same label. `undefined` if it has none. */
  label({ path, state }: Place, type: FileType): Uint8Array | undefined {
    let found = this.automaton.result(this.automaton.read(state, type));
    const text = path + type;
    for (const { index, place, matches } of this.slow) {
      if (index < found) break;
      try {
        if (!matches(text)) continue;
      } catch (error) {
        throw new Error(place, { cause: error });
      }
      found = index;
      break;
    }
    return this.contexts[found];
  }

  private place(path: ByteString): Place {
    return { path, state: this.automaton.read(this.automaton.start, path) };
  }
}

/** Each line's label: the context's bytes, without the NUL that other tools store with it. */
function internContexts(lines: readonly FileContext[]): (Uint8Array | undefined)[] {
  const known = new Map<ByteString, Uint8Array>();
  return lines.map(({ context }) => {
    if (context === NO_CONTEXT) return undefined;
    const bytes = known.get(context) ?? toBytes(context);
    known.set(context, bytes);
    return bytes;
  });
}

/**
 * The pattern of a line, for the path with the letter of the file's type after it. In the dialect for backtracking only if it
 * is not of the other one. The parentheses around it count: `\1` is all of the pattern, its own first group is `\2`.
 */
function parseLine(line: FileContext): Regular | ((text: string) => boolean) {
  const open = "^(";
  const text = `${open}${line.regex})${line.type ?? "."}$`;
  try {
    return parseAutomatonSyntax(text, open.length);
  } catch (error) {
    if (error instanceof UnsupportedPatternError) throw new Error(describe(line), { cause: error });
  }
  try {
    const { pattern, groups } = parseBacktrackingSyntax(fromText(text), open.length);
    return compileBacktracking(pattern, groups);
  } catch (error) {
    throw new Error(describe(line), { cause: error });
  }
}

function describe({ place, regex }: FileContext): string {
  return `${place}: pattern "${regex}"`;
}
