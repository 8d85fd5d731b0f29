/** Reading parts of a blob that are fetched ahead of time, several at once. */
import type { ByteRange } from "../../src/formats/zstd-chunked.ts";

/** Requests on their way at once. What they bring is in memory until it is taken. */
const AHEAD = 4;

export type FetchRange = (range: ByteRange, signal: AbortSignal) => AsyncIterable<Uint8Array>;

interface Fetched extends ByteRange {
  readonly bytes: Uint8Array;
}

/** Fetches ranges, which must be in order and apart from each other. Close it, also if it was read to its end. */
export class RangeReader {
  readonly #fetch: FetchRange;
  readonly #signal: AbortSignal;
  readonly #controller = new AbortController();
  readonly #left: ByteRange[];
  readonly #coming: Promise<Fetched>[] = [];
  #current: Fetched = { start: 0, end: 0, bytes: new Uint8Array(0) };

  constructor(fetch: FetchRange, ranges: readonly ByteRange[], signal: AbortSignal) {
    this.#fetch = fetch;
    this.#left = ranges.toReversed();
    this.#signal = AbortSignal.any([signal, this.#controller.signal]);
    this.#fetchAhead();
  }

  /**
   * The bytes of a range that lies behind those that were taken before. Throws what fetching throws, and for bytes that are
   * not among those that are fetched.
   */
  async *take({ start, end }: ByteRange): AsyncGenerator<Uint8Array, void, undefined> {
    for (let at = start; at < end; ) {
      while (this.#current.end <= at) {
        const next = await this.#coming.shift();
        if (next === undefined) throw new Error(`bytes from ${at} are not fetched`);
        this.#current = next;
        this.#fetchAhead();
      }
      const { start: from, bytes } = this.#current;
      if (from > at) throw new Error(`bytes from ${at} are not fetched`);
      const piece = bytes.subarray(at - from, end - from);
      at += piece.length;
      yield piece;
    }
  }

  /** Ends what is still on its way. */
  close(): void {
    this.#controller.abort();
  }

  #fetchAhead(): void {
    while (this.#coming.length < AHEAD) {
      const range = this.#left.pop();
      if (range === undefined) return;
      const coming = this.#collect(range);
      coming.catch(() => {}); // thrown where it is taken, if it ever is
      this.#coming.push(coming);
    }
  }

  async #collect({ start, end }: ByteRange): Promise<Fetched> {
    const bytes = new Uint8Array(end - start);
    let length = 0;
    for await (const chunk of this.#fetch({ start, end }, this.#signal)) {
      if (chunk.length > bytes.length - length)
        throw new Error(`more than the bytes ${start} to ${end}`);
      bytes.set(chunk, length);
      length += chunk.length;
    }
    if (length < bytes.length) throw new Error(`${length} of the bytes ${start} to ${end}`);
    return { start, end, bytes };
  }
}
