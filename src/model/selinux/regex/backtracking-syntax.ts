/**
 * The dialect of the patterns that a finite automaton cannot match: the part of PCRE2's (pcre2pattern(3), without UTF and
 * UCP) that policies may sensibly use: look-around, atomic groups, back-references, possessive quantifiers. Recursion,
 * conditions, callouts, verbs and Unicode properties are refused.
 *
 * Patterns are bytes here, so a quantifier after a character that is not ASCII repeats its last byte. What is matched against
 * always ends with a file type's letter; so `$`, that PCRE2 also lets match before a last newline, is the end.
 */
import type { ByteString } from "../../../formats/bytestring.ts";
import {
  allBut,
  type ByteSet,
  bytesOf,
  complement,
  ignoringCase,
  PERL,
  POSIX,
  range,
  union,
} from "./byte-set.ts";
import { type Atom, type Flags, PatternParser } from "./parser.ts";
import { byte, heightOver, type Look, type Pattern, type Repeat } from "./pattern.ts";

/** A pattern and how many groups it remembers. */
export interface BacktrackingPattern {
  readonly pattern: Pattern;
  readonly groups: number;
}

/** Parses a pattern. Throws if it is wrong, or uses what is not supported; offsets in messages are from `origin`. */
export function parseBacktrackingSyntax(text: ByteString, origin = 0): BacktrackingPattern {
  const parser = new Parser(unquote(text), origin);
  const pattern = parser.parse();
  return { pattern, groups: parser.finish() };
}

/** With escapes for what is between `\Q` and `\E`. */
function unquote(text: string): string {
  return text.replace(/\\(?:Q(.*?)(?:\\E|$)|E|(.))/gs, (all, quoted?: string, other?: string) =>
    other === undefined ? (quoted ?? "").replace(/[^0-9A-Za-z]/g, "\\$&") : all,
  );
}

const CONTROL: ReadonlyMap<string, number> = new Map([
  ["a", 7],
  ["e", 27],
  ["f", 12],
  ["n", 10],
  ["r", 13],
  ["t", 9],
]);

const LOOKS: ReadonlyMap<string, Look> = new Map([
  ["A", "start"],
  ["G", "start"],
  ["z", "end"],
  ["Z", "end"],
  ["b", "word-boundary"],
  ["B", "no-word-boundary"],
]);

const horizontal = bytesOf("\t \xa0");
const vertical = bytesOf("\n\v\f\r\x85");

const SETS: ReadonlyMap<string, ByteSet> = new Map([
  ...PERL,
  ["h", horizontal],
  ["H", complement(horizontal)],
  ["v", vertical],
  ["V", complement(vertical)],
]);

const FLAGS: ReadonlyMap<string, keyof Flags> = new Map([
  ["i", "ignoreCase"],
  ["m", "multiLine"],
  ["s", "dotAll"],
  ["x", "extended"],
]);

const ANY = allBut("");
const NOT_NEWLINE = allBut("\n");
const MAX_COUNT = 65_535;

class Parser extends PatternParser<Pattern> {
  private groups = 0;
  private readonly names = new Map<string, number>();
  /** Groups that are referred to, and where. */
  private readonly references: [index: number, at: number][] = [];

  /** The number of groups, after parsing. */
  finish(): number {
    for (const [index, at] of this.references) {
      if (index < 1 || index > this.groups) throw this.error(`there is no group ${index}`, at);
    }
    return this.groups;
  }

  protected override atom(): Atom<Pattern> {
    const { flags } = this;
    if (this.eat("(")) return this.group();
    if (this.eat("[")) return { type: "set", set: this.bracket() };
    if (this.eat(".")) {
      return { type: "set", set: flags.dotAll ? ANY : NOT_NEWLINE };
    }
    if (this.eat("^")) return { type: "look", look: flags.multiLine ? "start-of-line" : "start" };
    if (this.eat("$")) return { type: "look", look: flags.multiLine ? "end-of-line" : "end" };
    if (this.next === "\\") return this.escape();
    return byte(this.text.charCodeAt(this.at++), flags.ignoreCase);
  }

  private group(): Atom<Pattern> {
    const start = this.at - 1;
    if (this.next === "*") throw this.error("verbs are not supported", start);
    if (!this.eat("?")) return this.capture();
    if (this.eatMatch(/#[^)]*\)/y) !== null) return "comment";
    if (this.eat(":")) return this.groupBody();
    if (this.eat(">")) {
      const item = this.groupBody();
      return { type: "atomic", item, height: heightOver([item]) };
    }
    const around = this.eatMatch(/(<?)([=!])/y);
    if (around !== null) {
      const item = this.groupBody();
      const direction = around[1] === "" ? "ahead" : "behind";
      const height = heightOver([item]);
      return { type: "around", direction, negative: around[2] === "!", item, height };
    }
    const name = this.eatMatch(/P?<(\w+)>|'(\w+)'/y);
    if (name !== null) return this.capture(name[1] ?? name[2]!);
    const reference = this.eatMatch(/P=(\w+)\)/y);
    if (reference !== null) return this.reference(this.named(reference[1]!));
    const flags = this.eatMatch(/\^?[imsx]*(?:-[imsx]*)?(?=[:)])/y);
    if (flags === null) throw this.error("a group that is not supported", start);
    const changed = this.changedFlags(flags[0]);
    if (this.eat(":")) return this.groupBody(changed);
    this.at++;
    this.flags = changed;
    return "flags";
  }

  private changedFlags(letters: string): Flags {
    const flags: { -readonly [K in keyof Flags]: Flags[K] } = { ...this.flags };
    let value = true;
    for (const letter of letters) {
      const flag = FLAGS.get(letter);
      if (flag !== undefined) flags[flag] = value;
      else if (letter === "-") value = false;
      else for (const all of FLAGS.values()) flags[all] = false;
    }
    return flags;
  }

  private capture(name?: string): Pattern {
    const index = ++this.groups;
    if (name !== undefined) {
      if (this.names.has(name)) throw this.error(`two groups have the name ${name}`);
      this.names.set(name, index);
    }
    const item = this.groupBody();
    return { type: "group", index, item, height: heightOver([item]) };
  }

  private named(name: string): number {
    const index = this.names.get(name);
    if (index === undefined) throw this.error(`no group has the name ${name} here`);
    return index;
  }

  private reference(index: number): Pattern {
    this.references.push([index, this.at]);
    return { type: "reference", index, ignoreCase: this.flags.ignoreCase };
  }

  protected override counted(): readonly [number, number] | undefined {
    // Anything else in braces is text. "{,n}" was text too before PCRE2 10.43.
    const match = this.eatMatch(/\{(\d+)(?:(,)(\d*))?\}|\{,(\d+)\}/y);
    if (match === null) return undefined;
    const [, first = "0", comma, last, only] = match;
    const end = only ?? (comma === undefined ? first : last);
    const counts = [Number(first), end === "" ? Infinity : Number(end)] as const;
    for (const count of counts) {
      if (Number.isFinite(count) && count > MAX_COUNT) throw this.error("too large a number");
    }
    return counts;
  }

  protected override quantifierMode(stacked: number): Repeat<never>["mode"] {
    if (stacked > 0) throw this.error("a quantifier after a quantifier");
    if (this.eat("+")) return "possessive";
    return this.eat("?") ? "lazy" : "greedy";
  }

  protected override repeats({ type }: Pattern): boolean {
    return type !== "look"; // as PCRE2 has it since 10.43
  }

  private escape(): Pattern {
    const start = this.at++;
    const reference =
      this.numberedReference() ??
      this.eatMatch(/g(-?\d+)|g\{(-?\d+)\}/y) ??
      this.eatMatch(/(?:[gk]\{(\w+)\}|k<(\w+)>|k'(\w+)')/y);
    if (reference !== null) return this.reference(this.groupOf(reference));
    if (this.eat("N")) return { type: "set", set: NOT_NEWLINE };
    const look = LOOKS.get(this.next);
    if (look !== undefined) {
      this.at++;
      return { type: "look", look };
    }
    const found = this.commonEscape(start);
    return typeof found === "number"
      ? byte(found, this.flags.ignoreCase)
      : { type: "set", set: found };
  }

  /** `\1`; two digits and more are an octal number unless there are that many groups. */
  private numberedReference(): RegExpExecArray | null {
    const start = this.at;
    const match = this.eatMatch(/([1-9]\d*)/y);
    if (match === null || Number(match[1]) < 10 || Number(match[1]) <= this.groups) return match;
    this.at = start;
    return null;
  }

  /** The group that a back-reference means: by number, relative to here, or by name. */
  private groupOf([, ...ways]: RegExpExecArray): number {
    const what = ways.find((way) => way !== undefined)!;
    if (!/^-?\d+$/.test(what)) return this.named(what);
    return what.startsWith("-") ? this.groups + 1 + Number(what) : Number(what);
  }

  /** What an escape means in a class and outside, after its backslash: a byte, or several. */
  private commonEscape(start: number): number | ByteSet {
    const octal = this.eatMatch(/[0-7]{1,3}|o\{([0-7]{1,3})\}/y);
    if (octal !== null) return this.byteValue(Number.parseInt(octal[1] ?? octal[0], 8), start);
    const hex = this.eatMatch(/x(?:\{([0-9A-Fa-f]{1,8})\}|([0-9A-Fa-f]{0,2}))/y);
    if (hex !== null) return this.byteValue(Number.parseInt(hex[1] ?? `0${hex[2]}`, 16), start);
    const letter = this.next;
    if (letter === "") throw this.error("nothing after the last \\", start);
    this.at++;
    const set = SETS.get(letter);
    if (set !== undefined) return set;
    const control = CONTROL.get(letter);
    if (control !== undefined) return control;
    if (/[0-9A-Za-z]/.test(letter)) {
      throw this.error(`the escape "\\${letter}" is unknown or not supported`, start);
    }
    return letter.charCodeAt(0);
  }

  private byteValue(value: number, at: number): number {
    if (value > 0xff) throw this.error("expected the number of a byte", at);
    return value;
  }

  /** A class, after its opening bracket. */
  private bracket(): ByteSet {
    const open = this.at - 1;
    const negative = this.eat("^");
    const parts: ByteSet[] = [];
    for (let first = true; first || !this.eat("]"); first = false) {
      if (this.at >= this.text.length) throw this.error("unclosed class", open);
      const from = this.classItem();
      if (this.next !== "-" || this.text.charAt(this.at + 1) === "]") {
        parts.push(typeof from === "number" ? range(from, from) : from);
        continue;
      }
      this.at++;
      const to = this.at < this.text.length ? this.classItem() : 0;
      if (typeof from !== "number" || typeof to !== "number" || from > to) {
        throw this.error("a range that is no range of characters");
      }
      parts.push(range(from, to));
    }
    const set = this.flags.ignoreCase ? ignoringCase(union(...parts)) : union(...parts);
    return negative ? complement(set) : set;
  }

  private classItem(): number | ByteSet {
    const start = this.at;
    const posix = this.eatMatch(/\[([:.=])(\^?)([a-z]*)\1\]/y);
    if (posix !== null) {
      const set = posix[1] === ":" ? POSIX.get(posix[3]!) : undefined;
      if (set === undefined) throw this.error("unknown POSIX class", start);
      return posix[2] === "^" ? complement(set) : set;
    }
    if (!this.eat("\\")) return this.text.charCodeAt(this.at++);
    if (this.eat("b")) return 8;
    return this.commonEscape(start);
  }
}
