/**
 * Matches text against one pattern by trying its ways one after the other, as PCRE2 does. Some patterns have more ways than
 * anyone can wait for, so there is a limit.
 */
import { otherCase } from "./byte-set.ts";
import { holds, type Pattern, type Repeat } from "./pattern.ts";

const MAX_STEPS = 5_000_000;

/** Whether a match that begins at `at` and goes on as compiled gets to its end. */
type Continuation = (at: number) => boolean;

/**
 * Compiles a pattern with that many groups. The result tells whether a text, bytes as characters, has a match anywhere. It
 * throws if that takes too long to find out.
 */
export function compileBacktracking(pattern: Pattern, groups: number): (text: string) => boolean {
  const matching = new Matching(groups);
  const attempt = matching.compile(pattern, () => true);
  const first = pattern.type === "sequence" ? pattern.items[0] : pattern;
  const anchored = first?.type === "look" && first.look === "start";
  const prefix = anchored ? literalPrefix(pattern).bytes : "";
  return (text) => {
    if (!text.startsWith(prefix)) return false;
    matching.reset(text);
    try {
      for (let at = 0; at <= (anchored ? 0 : text.length); at++) if (attempt(at)) return true;
    } catch (error) {
      // Out of stack.
      if (error instanceof RangeError) throw new Error(TOO_LONG, { cause: error });
      throw error;
    }
    return false;
  };
}

const TOO_LONG = "takes too long to match, there are too many ways to try";

/** The bytes that every match begins with; `whole`: they are all of the pattern. */
function literalPrefix(pattern: Pattern): { readonly bytes: string; readonly whole: boolean } {
  if (pattern.type === "byte") return { bytes: String.fromCharCode(pattern.byte), whole: true };
  if (pattern.type === "look") return { bytes: "", whole: true };
  if (pattern.type === "group") return literalPrefix(pattern.item);
  if (pattern.type !== "sequence") return { bytes: "", whole: false };
  let bytes = "";
  for (const item of pattern.items) {
    const next = literalPrefix(item);
    bytes += next.bytes;
    if (!next.whole) return { bytes, whole: false };
  }
  return { bytes, whole: true };
}

class Matching {
  private text = "";
  private steps = 0;
  /** Start and end of what each group matched last, -1 if it has not. */
  private readonly groups: Int32Array;

  constructor(groups: number) {
    this.groups = new Int32Array(2 * (groups + 1));
  }

  reset(text: string): void {
    this.text = text;
    this.steps = 0;
    this.groups.fill(-1);
  }

  private count(): void {
    if (++this.steps > MAX_STEPS) throw new Error(TOO_LONG);
  }

  private byteAt(at: number): number {
    return at >= 0 && at < this.text.length ? this.text.charCodeAt(at) : -1;
  }

  compile(pattern: Pattern, next: Continuation): Continuation {
    switch (pattern.type) {
      case "byte":
      case "set": {
        const one = this.single(pattern)!;
        return (at) => one(at) && next(at + 1);
      }
      case "look": {
        const { look } = pattern;
        return (at) => holds(look, this.byteAt(at - 1), this.byteAt(at)) && next(at);
      }
      case "sequence":
        return pattern.items.reduceRight((then, item) => this.compile(item, then), next);
      case "choice": {
        const options = pattern.options.map((option) => this.compile(option, next));
        return (at) => {
          this.count();
          return options.some((option) => option(at));
        };
      }
      case "repeat":
        return this.compileRepeat(pattern, next);
      case "group":
        return this.compileGroup(pattern.index, pattern.item, next);
      case "atomic": {
        const first = this.firstWay(pattern.item);
        return (at) => {
          const end = first(at);
          return end >= 0 && next(end);
        };
      }
      case "around":
        return this.compileAround(pattern, next);
      case "reference":
        return this.compileReference(pattern.index, pattern.ignoreCase, next);
    }
  }

  /** A test of one byte, if that is all that the pattern is. */
  private single(pattern: Pattern): Continuation | undefined {
    if (pattern.type === "byte") {
      const { byte } = pattern;
      return (at) => this.text.charCodeAt(at) === byte;
    }
    if (pattern.type !== "set") return undefined;
    const { set } = pattern;
    return (at) => at < this.text.length && set[this.text.charCodeAt(at)] === 1;
  }

  /** Where the first way to match ends, or -1. Groups stay as it left them. */
  private firstWay(item: Pattern): (at: number) => number {
    let end = -1;
    const match = this.compile(item, (at) => {
      end = at;
      return true;
    });
    return (at) => (match(at) ? end : -1);
  }

  private compileRepeat(pattern: Repeat<Pattern>, next: Continuation): Continuation {
    const { item, min, max, mode } = pattern;
    if (mode === "possessive") {
      return this.compile(
        { type: "atomic", item: { ...pattern, mode: "greedy" }, height: 0 },
        next,
      );
    }
    const one = this.single(item);
    if (one !== undefined && mode === "greedy") {
      return (at) => {
        let end = at;
        while (end - at < max && one(end)) end++;
        for (; end - at >= min; end--) {
          this.count();
          if (next(end)) return true;
        }
        return false;
      };
    }
    let done = 0;
    let began = -1;
    /** Runs `then` as another repetition, or puts things back. */
    const again = (at: number, repetitions: number, then: Continuation) => {
      const [oldDone, oldBegan] = [done, began];
      [done, began] = [repetitions, at];
      if (then(at)) return true;
      [done, began] = [oldDone, oldBegan];
      return false;
    };
    const body: Continuation = this.compile(item, (at) => {
      // What matches nothing could be repeated for ever.
      if (at === began && done >= min) return next(at);
      return loop(at);
    });
    const loop: Continuation = (at) => {
      this.count();
      if (done < min) return again(at, done + 1, body);
      const more = () => done < max && again(at, done + 1, body);
      return mode === "lazy" ? next(at) || more() : more() || next(at);
    };
    return (at) => again(at, 0, loop);
  }

  private compileGroup(index: number, item: Pattern, next: Continuation): Continuation {
    const { groups } = this;
    const starts: number[] = [];
    const body = this.compile(item, (at) => {
      const start = starts.pop()!;
      const old = groups.slice(2 * index, 2 * index + 2);
      groups[2 * index] = start;
      groups[2 * index + 1] = at;
      if (next(at)) return true;
      groups.set(old, 2 * index);
      starts.push(start);
      return false;
    });
    return (at) => {
      starts.push(at);
      if (body(at)) return true;
      starts.pop();
      return false;
    };
  }

  private compileAround(
    { direction, negative, item }: Pattern & { type: "around" },
    next: Continuation,
  ): Continuation {
    let limit = -1;
    const inside = this.compile(item, (at) => limit < 0 || at === limit);
    const there = (at: number) => {
      const outer = limit;
      try {
        if (direction === "ahead") {
          limit = -1;
          return inside(at);
        }
        limit = at;
        for (let start = at; start >= 0; start--) if (inside(start)) return true;
        return false;
      } finally {
        limit = outer;
      }
    };
    return (at) => {
      this.count();
      const old = this.groups.slice();
      const found = there(at);
      if (negative) this.groups.set(old);
      if (found !== negative && next(at)) return true;
      this.groups.set(old);
      return false;
    };
  }

  private compileReference(index: number, ignoreCase: boolean, next: Continuation): Continuation {
    return (at) => {
      const [start = -1, end = -1] = this.groups.subarray(2 * index, 2 * index + 2);
      if (start < 0) return false;
      for (let i = start; i < end; i++) {
        const [wanted, found] = [this.byteAt(i), this.byteAt(at + i - start)];
        if (wanted !== found && !(ignoreCase && otherCase(wanted) === found)) return false;
      }
      return next(at + end - start);
    };
  }
}
