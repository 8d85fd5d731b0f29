/** What the parsers of both dialects share: alternatives, sequences, quantifiers, flags' scope. */
import { choice, heightOver, type Pattern, type Repeat, sequence } from "./pattern.ts";

export interface Flags {
  readonly ignoreCase: boolean;
  /** `^` and `$` also match at the ends of lines. */
  readonly multiLine: boolean;
  readonly dotAll: boolean;
  /** `#` starts a comment. Blanks, that are ignored too, cannot get here. */
  readonly extended: boolean;
  /** Lines end with CR, LF or both. */
  readonly crlf: boolean;
}

const NO_FLAGS: Flags = {
  ignoreCase: false,
  multiLine: false,
  dotAll: false,
  extended: false,
  crlf: false,
};

type Quantifier = Omit<Repeat<never>, "type" | "item" | "height">;

/**
 * What an atom of a pattern can be: a pattern, or something that matches nothing and takes no quantifier (`flags`), or
 * something that counts for nothing at all, so that a quantifier after it belongs to what is before (`comment`).
 */
export type Atom<P extends Pattern> = P | "flags" | "comment";

/** Parses one pattern. Errors are short and tell the offset, in characters from 0 at `origin`. */
export abstract class PatternParser<P extends Pattern> {
  protected readonly text: string;
  protected at = 0;
  protected flags: Flags = NO_FLAGS;
  private readonly origin: number;
  private depth = 0;

  constructor(text: string, origin: number) {
    this.text = text;
    this.origin = origin;
  }

  /** Parses the whole text. */
  parse(): P {
    const pattern = this.alternatives();
    if (this.at < this.text.length) throw this.error('")" closes no group');
    return pattern;
  }

  /** What stands at the place: anything but an alternative's end or a quantifier. */
  protected abstract atom(): Atom<P>;

  /** A quantifier in braces, if there is one at the place. */
  protected abstract counted(): readonly [min: number, max: number] | undefined;

  /** What follows a quantifier; `stacked`: how many quantifiers the atom had before this one. */
  protected abstract quantifierMode(stacked: number): Quantifier["mode"];

  /** Whether what is no group may be followed by a quantifier. */
  protected repeats(_atom: P): boolean {
    return true;
  }

  protected error(why: string, at = this.at): Error {
    return new Error(`${why} at offset ${Math.max(0, at - this.origin)}`);
  }

  protected get next(): string {
    return this.text.charAt(this.at);
  }

  protected eat(text: string): boolean {
    if (!this.text.startsWith(text, this.at)) return false;
    this.at += text.length;
    return true;
  }

  /** Matches a sticky regular expression at the place, and steps over it. */
  protected eatMatch(expression: RegExp): RegExpExecArray | null {
    expression.lastIndex = this.at;
    const match = expression.exec(this.text);
    if (match !== null) this.at = expression.lastIndex;
    return match;
  }

  /** What is inside of a group, with its closing parenthesis. Flags that are set in it end with it. */
  protected groupBody(flags: Flags = this.flags): P {
    const open = this.at;
    const outer = this.flags;
    this.flags = flags;
    // The stack of calls has an end; patterns that nest deeper are refused when they are put together.
    if (++this.depth > 250) throw this.error("too many nested groups");
    const body = this.alternatives();
    if (!this.eat(")")) throw this.error("unclosed group", open);
    this.depth--;
    this.flags = outer;
    return body;
  }

  private alternatives(): P {
    const options: P[] = [];
    do options.push(this.sequence());
    while (this.eat("|"));
    return choice(options);
  }

  private sequence(): P {
    const items: P[] = [];
    let repeatable = false;
    let stacked = 0;
    for (;;) {
      if (this.flags.extended && this.eatMatch(/#[^\n]*\n?/y) !== null) continue;
      if (this.at >= this.text.length || this.next === "|" || this.next === ")") break;
      const start = this.at;
      const quantifier = this.quantifier(stacked);
      if (quantifier !== undefined) {
        if (!repeatable) throw this.error("a quantifier without what it repeats", start);
        const item = items.pop()!;
        items.push({
          type: "repeat",
          item,
          ...quantifier,
          height: heightOver([item]),
        } as Pattern as P);
        stacked++;
        continue;
      }
      const isGroup = this.next === "(";
      const atom = this.atom();
      if (atom === "comment") continue;
      stacked = 0;
      repeatable = atom !== "flags" && (isGroup || this.repeats(atom));
      if (atom !== "flags") items.push(atom);
    }
    return sequence(items);
  }

  private quantifier(stacked: number): Quantifier | undefined {
    let counts: readonly [min: number, max: number] | undefined;
    if (this.eat("?")) counts = [0, 1];
    else if (this.eat("*")) counts = [0, Infinity];
    else if (this.eat("+")) counts = [1, Infinity];
    else if (this.next === "{") counts = this.counted();
    if (counts === undefined) return undefined;
    const [min, max] = counts;
    if (max < min) throw this.error(`the quantifier {${min},${max}} is the wrong way round`);
    return { min, max, mode: this.quantifierMode(stacked) };
  }
}
