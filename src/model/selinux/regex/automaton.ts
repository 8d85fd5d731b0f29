/**
 * Matches text against thousands of patterns at once, in time linear in the text: an NFA of all patterns, and the states of
 * the DFA as they are come to. No pattern, however contrived, makes it slower than the number of its states.
 *
 * A state stands for what was read so far, so reading `/usr/lib` once serves all the files in it.
 */
import { fromBytes } from "../../../formats/bytestring.ts";
import type { ByteSet } from "./byte-set.ts";
import { holds, type Look, type Regular } from "./pattern.ts";

/** The most instructions that the NFA may have; real policies have a tenth of it. */
const MAX_INSTRUCTIONS = 1 << 20;
/** How much the cache of states holds before it is emptied, in bytes, roughly. */
const CACHE_CAPACITY = 64 << 20;
const STATE_SIZE = 512;
const INSTRUCTION_SIZE = 24;
const TRANSITION_SIZE = 64;

type Instruction =
  | { readonly type: "byte"; readonly byte: number; readonly to: number }
  | { readonly type: "set"; readonly set: ByteSet; readonly to: number }
  | { readonly type: "look"; readonly look: Look; readonly to: number }
  /** Goes on with all of them, without reading. */
  | { readonly type: "split"; to: readonly number[] }
  /** What patterns that begin alike share. Goes on with its child for the byte, and without reading with `rests`. */
  | { readonly type: "prefix"; rests: number[] | undefined }
  | { readonly type: "match"; readonly pattern: number };

/** What has been read so far, as far as it matters to the patterns. */
export interface State {
  /** Instructions to go on with, ascending. */
  readonly kernel: Uint32Array;
  /** Stands for the byte before; -1 at the start. */
  readonly previous: number;
  /** The last pattern that matches the beginning of what was read, or -1. */
  readonly matched: number;
  readonly transitions: Map<number, State>;
  expanded: Expanded | undefined;
  result: number | undefined;
}

/** What a state's kernel leads to without reading. */
interface Expanded {
  readonly reading: readonly number[];
  /** These wait for the next byte. */
  readonly looks: readonly number[];
  readonly matched: number;
}

export class Automaton {
  /** Before anything is read. */
  readonly start: State;
  private readonly instructions: Instruction[] = [];
  /** Of prefixes, by 256 times their number and a byte. */
  private readonly children = new Map<number, number>();
  /** Whether anything depends on the byte before. */
  private looksBack = false;
  private readonly states = new Map<string, State>();
  private cached = 0;
  /** When an instruction was visited last, so that no visit needs clearing. */
  private readonly visits: Uint32Array;
  private visit = 0;

  /** Of patterns that match, the later one counts. `describe` names a pattern that makes all of them too large. */
  constructor(patterns: readonly (Regular | undefined)[], describe: (pattern: number) => string) {
    const root = this.add({ type: "prefix", rests: undefined });
    for (const [i, pattern] of patterns.entries()) {
      try {
        if (pattern !== undefined) this.addPattern(root, pattern, i);
      } catch (error) {
        throw new Error(describe(i), { cause: error });
      }
    }
    this.visits = new Uint32Array(this.instructions.length);
    this.start = this.state([root], -1, -1);
  }

  /** The state after reading all of `text`, bytes as characters. */
  read(from: State, text: string): State {
    let state = from;
    for (let i = 0; i < text.length; i++) state = this.step(state, text.charCodeAt(i));
    return state;
  }

  /** The last pattern that matches if the text ends here, or -1. */
  result(state: State): number {
    if (state.result === undefined) {
      const { looks, matched } = this.expand(state);
      state.result = this.close(looks, matched, state.previous, -1).matched;
    }
    return state.result;
  }

  private step(state: State, byte: number): State {
    let next = state.transitions.get(byte);
    if (next === undefined) {
      next = this.transition(state, byte);
      state.transitions.set(byte, next);
      this.cached += TRANSITION_SIZE;
    }
    return next;
  }

  private transition(state: State, byte: number): State {
    const { reading, looks, matched } = this.expand(state);
    const to: number[] = [];
    const advance = (at: number) => {
      const instruction = this.instructions[at]!;
      if (instruction.type === "byte") {
        if (instruction.byte === byte) to.push(instruction.to);
      } else if (instruction.type === "set") {
        if (instruction.set[byte] === 1) to.push(instruction.to);
      } else if (instruction.type === "prefix") {
        const child = this.children.get(256 * at + byte);
        if (child !== undefined) to.push(child);
      }
    };
    for (const at of reading) advance(at);
    let best = matched;
    if (looks.length > 0) {
      const more = this.close(looks, matched, state.previous, byte);
      for (const at of more.reading) advance(at);
      best = more.matched;
    }
    return this.state(to, this.looksBack ? representative(byte) : -1, best);
  }

  private expand(state: State): Expanded {
    state.expanded ??= this.close(state.kernel, state.matched);
    return state.expanded;
  }

  /** Follows instructions as far as they go without reading; looks too, if the bytes around are given. */
  private close(from: Iterable<number>, matched: number, previous = -1, next?: number): Expanded {
    const { instructions, visits } = this;
    const visit = ++this.visit;
    const reading: number[] = [];
    const looks: number[] = [];
    let best = matched;
    const pending = [...from];
    for (let at = pending.pop(); at !== undefined; at = pending.pop()) {
      if (visits[at] === visit) continue;
      visits[at] = visit;
      const instruction = instructions[at]!;
      switch (instruction.type) {
        case "split":
          for (const to of instruction.to) pending.push(to);
          break;
        case "prefix":
          reading.push(at);
          for (const to of instruction.rests ?? []) pending.push(to);
          break;
        case "look":
          if (next === undefined) looks.push(at);
          else if (holds(instruction.look, previous, next)) pending.push(instruction.to);
          break;
        case "match":
          if (instruction.pattern > best) best = instruction.pattern;
          break;
        default:
          reading.push(at);
      }
    }
    return { reading, looks, matched: best };
  }

  /** The one state of this kind. */
  private state(to: readonly number[], previous: number, matched: number): State {
    const kernel = Uint32Array.from(new Set(to)).sort();
    const halves = new Uint8Array(kernel.buffer);
    const key = `${matched},${previous},${fromBytes(halves)}`;
    let state = this.states.get(key);
    if (state === undefined) {
      if (this.cached > CACHE_CAPACITY) this.forget();
      state = {
        kernel,
        previous,
        matched,
        transitions: new Map(),
        expanded: undefined,
        result: undefined,
      };
      this.states.set(key, state);
      this.cached += STATE_SIZE + INSTRUCTION_SIZE * kernel.length;
    }
    return state;
  }

  /** Empties the cache. States that someone holds stay good, but do not hold all others any longer. */
  private forget(): void {
    for (const state of this.states.values()) {
      state.transitions.clear();
      state.expanded = undefined;
    }
    this.states.clear();
    this.cached = 0;
  }

  private add(instruction: Instruction): number {
    if (this.instructions.length >= MAX_INSTRUCTIONS)
      throw new Error("too large together with all before");
    return this.instructions.push(instruction) - 1;
  }

  private addPattern(root: number, pattern: Regular, index: number): void {
    const items = pattern.type === "sequence" ? pattern.items : [pattern];
    let at = root;
    let used = 0;
    const first = items[0];
    if (first?.type === "look" && first.look === "start") {
      // Reading starts nowhere else.
      used = 1;
      for (let item = items[used]; item?.type === "byte"; item = items[++used]) {
        at = this.prefixChild(at, item.byte);
      }
    }
    let rest = this.add({ type: "match", pattern: index });
    for (let i = items.length - 1; i >= used; i--) rest = this.compile(items[i]!, rest);
    const prefix = this.instructions[at] as Instruction & { type: "prefix" };
    if (prefix.rests === undefined) prefix.rests = [rest];
    else prefix.rests.push(rest);
  }

  private prefixChild(at: number, byte: number): number {
    const key = 256 * at + byte;
    let child = this.children.get(key);
    if (child === undefined) {
      child = this.add({ type: "prefix", rests: undefined });
      this.children.set(key, child);
    }
    return child;
  }

  /** Adds instructions that match the pattern and go on with `to`; returns the first. */
  private compile(pattern: Regular, to: number): number {
    switch (pattern.type) {
      case "byte":
        return this.add({ type: "byte", byte: pattern.byte, to });
      case "set":
        return this.add({ type: "set", set: pattern.set, to });
      case "look":
        if (pattern.look !== "end") this.looksBack = true;
        return this.add({ type: "look", look: pattern.look, to });
      case "sequence":
        return pattern.items.reduceRight((next, item) => this.compile(item, next), to);
      case "choice":
        return this.add({ type: "split", to: pattern.options.map((p) => this.compile(p, to)) });
      case "repeat": {
        const { item, min, max } = pattern;
        let next = to;
        if (max === Infinity) {
          const loop: Instruction & { type: "split" } = { type: "split", to: [] };
          next = this.add(loop);
          loop.to = [this.compile(item, next), to];
        } else {
          for (let i = min; i < max; i++) {
            next = this.add({ type: "split", to: [this.compile(item, next), to] });
          }
        }
        // Through `add`, so that there is an end to repeating what takes no instructions.
        for (let i = 0; i < min; i++)
          next = this.add({ type: "split", to: [this.compile(item, next)] });
        return next;
      }
    }
  }
}

/** A byte that is to looks like this one. */
function representative(byte: number): number {
  if (byte === 0x0a || byte === 0x0d) return byte;
  return holds("word-end-half", -1, byte) ? 0x2f : 0x61;
}
