/**
 * The dialect that most patterns of `file_contexts` are read in: that of Rust's crates regex-syntax and regex-automata, as
 * composefs-rs sets them up. Patterns match bytes; classes and case are of ASCII; `.` is every byte but NUL; and what cannot
 * be matched by a finite automaton is a syntax error. Other than in most dialects, `a++` repeats `a+`, classes nest and have
 * the operators `&&`, `--` and `~~`, and a `{` that starts no quantifier is an error.
 */
import { fromText } from "../../../formats/bytestring.ts";
import {
  allBut,
  type ByteSet,
  bytesOf,
  complement,
  ignoringCase,
  PERL,
  POSIX,
  range,
  setOf,
  union,
} from "./byte-set.ts";
import { type Atom, type Flags, PatternParser } from "./parser.ts";
import { byte, type Look, type Regular, sequence } from "./pattern.ts";

/** The pattern is fine in its dialect, but not supported here: no other dialect is to be tried. */
export class UnsupportedPatternError extends Error {}

/**
 * Parses a pattern. Throws if it is not of this dialect, or `UnsupportedPatternError`; offsets in messages are from `origin`.
 */
export function parseAutomatonSyntax(text: string, origin = 0): Regular {
  return new Parser(text, origin).parse();
}

const CONTROL: ReadonlyMap<string, number> = new Map([
  ["a", 7],
  ["f", 12],
  ["t", 9],
  ["n", 10],
  ["r", 13],
  ["v", 11],
]);

const LOOKS: ReadonlyMap<string, Look> = new Map([
  ["A", "start"],
  ["z", "end"],
  ["b", "word-boundary"],
  ["B", "no-word-boundary"],
  ["<", "word-start"],
  [">", "word-end"],
]);

const WORD_LOOKS: ReadonlyMap<string, Look> = new Map([
  ["start", "word-start"],
  ["end", "word-end"],
  ["start-half", "word-start-half"],
  ["end-half", "word-end-half"],
]);

const FLAGS: ReadonlyMap<string, keyof Flags | "greed" | "unicode"> = new Map([
  ["i", "ignoreCase"],
  ["m", "multiLine"],
  ["s", "dotAll"],
  ["x", "extended"],
  ["R", "crlf"],
  // Whether a quantifier is greedy changes nothing of whether there is a match.
  ["U", "greed"],
  ["u", "unicode"],
]);

const HEX_DIGITS: ReadonlyMap<string, number> = new Map([
  ["x", 2],
  ["u", 4],
  ["U", 8],
]);

/** What joins two parts of a class: whether a byte is in the whole, when it is in the left and right part. */
const OPERATORS: ReadonlyMap<string, (left: boolean, right: boolean) => boolean> = new Map([
  ["&&", (left, right) => left && right],
  ["--", (left, right) => left && !right],
  ["~~", (left, right) => left !== right],
]);

const ANY = allBut("");
const NOT_CRLF = allBut("\r\n");
const NOT_NUL = allBut("\0");

const MAX_CLASS_DEPTH = 100;

/** A character; `isByte`: written as one byte, `\xNN`, rather than as text. */
interface Character {
  readonly code: number;
  readonly isByte: boolean;
}

/** What an escape stands for. */
type Escape =
  | { readonly type: "character"; readonly character: Character }
  | { readonly type: "set"; readonly set: ByteSet }
  | { readonly type: "look"; readonly look: Look };

class Parser extends PatternParser<Regular> {
  private readonly names = new Set<string>();

  protected override atom(): Atom<Regular> {
    const { flags } = this;
    if (this.eat("(")) return this.group();
    if (this.eat("[")) return { type: "set", set: this.bracket(1) };
    if (this.eat(".")) {
      return { type: "set", set: flags.dotAll ? ANY : flags.crlf ? NOT_CRLF : NOT_NUL };
    }
    if (this.eat("^")) return { type: "look", look: this.lineLook("start") };
    if (this.eat("$")) return { type: "look", look: this.lineLook("end") };
    const found = this.next === "\\" ? this.escape() : this.verbatim();
    return found.type === "character" ? this.literal(found.character) : found;
  }

  private lineLook(end: "start" | "end"): Look {
    if (!this.flags.multiLine) return end;
    return this.flags.crlf ? `${end}-of-line-crlf` : `${end}-of-line`;
  }

  /** Text is matched as its UTF-8 bytes. */
  private literal({ code, isByte }: Character): Regular {
    if (isByte || code < 0x80) return byte(code, this.flags.ignoreCase && code < 0x80);
    const bytes = [...fromText(String.fromCodePoint(code))];
    return sequence(bytes.map((c): Regular => ({ type: "byte", byte: c.charCodeAt(0) })));
  }

  private verbatim(): Escape {
    const code = this.text.codePointAt(this.at);
    if (code === undefined) throw this.error("unexpected end");
    this.at += code > 0xffff ? 2 : 1;
    return { type: "character", character: { code, isByte: false } };
  }

  private group(): Atom<Regular> {
    const start = this.at;
    if (this.eatMatch(/\?<?[=!]/y) !== null) throw this.error("look-around", start);
    if (this.eatMatch(/\?P?</y) !== null) {
      const name = this.eatMatch(/[A-Za-z_][\w.[\]]*>/y)?.[0];
      if (name === undefined || this.names.has(name))
        throw this.error("expected a new name", start);
      this.names.add(name);
      return this.groupBody();
    }
    if (!this.eat("?")) return this.groupBody();
    const flags = this.readFlags();
    if (this.eat(":")) return this.groupBody(flags);
    if (!this.eat(")")) throw this.error('expected ":" or ")" after flags');
    if (this.at === start + 2) throw this.error("a quantifier without what it repeats", start);
    this.flags = flags;
    return "flags";
  }

  private readFlags(): Flags {
    const flags: { -readonly [K in keyof Flags]: Flags[K] } = { ...this.flags };
    const seen = new Set<string>();
    let value = true;
    let letter = "";
    for (; this.next !== ":" && this.next !== ")"; this.at++) {
      letter = this.next;
      const flag = FLAGS.get(letter);
      if (letter !== "-" && flag === undefined) throw this.error(`no such flag "${letter}"`);
      if (seen.has(letter)) throw this.error(`"${letter}" twice in flags`);
      seen.add(letter);
      if (letter === "-") value = false;
      else if (flag === "unicode" && value) {
        throw new UnsupportedPatternError(this.error("the flag u, for Unicode,").message);
      } else if (flag !== undefined && flag !== "greed" && flag !== "unicode") flags[flag] = value;
    }
    if (letter === "-") throw this.error('"-" without flags after it');
    return flags;
  }

  protected override counted(): readonly [number, number] {
    const match = this.eatMatch(/\{(\d+)(?:(,)(\d*))?\}/y);
    if (match === null) throw this.error("expected a quantifier");
    const [, first, comma, last] = match;
    const min = Number(first);
    const max = comma === undefined ? min : last === "" ? Infinity : Number(last);
    for (const count of [min, max]) {
      if (Number.isFinite(count) && count > 0xffffffff) throw this.error("too large a number");
    }
    return [min, max];
  }

  protected override quantifierMode(): "greedy" {
    this.eat("?");
    return "greedy";
  }

  /** An escape, in a class or not. */
  private escape(): Escape {
    const start = this.at++;
    const letter = this.next;
    if (letter === "") throw this.error("nothing after the last \\", start);
    const digits = HEX_DIGITS.get(letter);
    if (digits !== undefined) return this.hexadecimal(letter, digits);
    this.at++;
    const set = PERL.get(letter);
    if (set !== undefined) return { type: "set", set };
    if (letter === "b") {
      const named = this.eatMatch(/\{([A-Za-z-]+)\}/y);
      if (named !== null) {
        const look = WORD_LOOKS.get(named[1]!);
        if (look === undefined) throw this.error("no such word boundary", start);
        return { type: "look", look };
      }
      if (/^\{[A-Za-z-]/.test(this.text.slice(this.at, this.at + 2))) {
        throw this.error("unclosed word boundary", start);
      }
    }
    const look = LOOKS.get(letter);
    if (look !== undefined) return { type: "look", look };
    const code = CONTROL.get(letter) ?? letter.charCodeAt(0);
    if (CONTROL.get(letter) === undefined && (/[0-9A-Za-z]/.test(letter) || code > 0x7f)) {
      throw this.error(`unknown escape "\\${letter}"`, start);
    }
    return { type: "character", character: { code, isByte: false } };
  }

  /** `\xNN`, `\uNNNN`, `\UNNNNNNNN`, or any of them with braces. */
  private hexadecimal(letter: string, digits: number): Escape {
    const start = this.at++;
    const braces = this.eatMatch(/\{([0-9A-Fa-f]+)\}/y);
    const hex = braces?.[1] ?? this.text.slice(this.at, this.at + digits);
    if (braces === null) this.at += digits;
    const code = /^[0-9A-Fa-f]+$/.test(hex) ? Number.parseInt(hex, 16) : -1;
    const isCharacter = code <= 0x10ffff && !(code >= 0xd800 && code <= 0xdfff);
    if (code < 0 || !isCharacter || (braces === null && hex.length < digits)) {
      throw this.error("expected hexadecimal digits of a character", start);
    }
    return { type: "character", character: { code, isByte: letter === "x" && braces === null } };
  }

  /** A class, after its opening bracket. */
  private bracket(depth: number): ByteSet {
    const open = this.at - 1;
    if (depth > MAX_CLASS_DEPTH) throw this.error("classes nest too deep");
    const negative = this.eat("^");
    let operands: ByteSet[] = [];
    while (this.eat("-")) operands.push(bytesOf("-"));
    if (operands.length === 0 && this.eat("]")) operands.push(bytesOf("]"));
    let pending: ((right: ByteSet) => ByteSet) | undefined;
    const fold = (set: ByteSet) => (this.flags.ignoreCase ? ignoringCase(set) : set);
    const operand = () => {
      const set = fold(union(...operands));
      operands = [];
      return pending === undefined ? set : pending(set);
    };
    for (;;) {
      if (this.flags.extended && this.eatMatch(/#[^\n]*\n?/y) !== null) continue;
      if (this.at >= this.text.length) throw this.error("unclosed class", open);
      if (this.eat("]")) break;
      const operator = this.eatMatch(/&&|--|~~/y)?.[0];
      if (operator !== undefined) {
        const left = operand();
        pending = (right) => setOf((b) => OPERATORS.get(operator)!(left[b] === 1, right[b] === 1));
        continue;
      }
      if (this.next === "[") operands.push(this.posixClass() ?? this.nested(depth));
      else operands.push(this.classRange(open));
    }
    const set = operand();
    return negative ? complement(set) : set;
  }

  private nested(depth: number): ByteSet {
    this.at++;
    return this.bracket(depth + 1);
  }

  /** `[:name:]`; anything else, also an unknown name, is a nested class. */
  private posixClass(): ByteSet | undefined {
    const start = this.at;
    const match = this.eatMatch(/\[:(\^?)([a-z]+):\]/y);
    const set = match === null ? undefined : POSIX.get(match[2]!);
    if (set === undefined) {
      this.at = start;
      return undefined;
    }
    return match![1] === "^" ? complement(set) : set;
  }

  private classRange(open: number): ByteSet {
    const first = this.classItem();
    if (this.at >= this.text.length) throw this.error("unclosed class", open);
    const after = this.text.charAt(this.at + 1);
    if (this.next !== "-" || after === "]" || after === "-") {
      if (first.type === "set") return first.set;
      const code = this.classByte(first);
      return range(code, code);
    }
    this.at++;
    const last = this.classItem();
    const codes = [this.classByte(first), this.classByte(last)] as const;
    if (codes[0] > codes[1]) throw this.error("a range that is the wrong way round");
    return range(...codes);
  }

  private classItem(): Escape {
    return this.next === "\\" ? this.escape() : this.verbatim();
  }

  private classByte(item: Escape): number {
    if (item.type !== "character") throw this.error("expected a character in a class");
    const { code, isByte } = item.character;
    if (code > 0x7f && !isByte) throw this.error("a character that is not ASCII in a class");
    return code;
  }
}
