/** Reading on through bytes that come in pieces. */

const NOTHING = new Uint8Array(0);

/** Reads on through pieces, which may be cut anywhere. */
export class PieceReader {
  /** How much was read. */
  offset = 0;
  readonly #pieces: Iterator<Uint8Array>;
  #piece: Uint8Array = NOTHING;
  #at = 0;

  constructor(pieces: Iterable<Uint8Array>) {
    this.#pieces = pieces[Symbol.iterator]();
  }

  /** At most `length` bytes, none only at the end: a view of what is at hand. */
  some(length: number): Uint8Array {
    while (this.#at === this.#piece.length) {
      const { value, done } = this.#pieces.next();
      if (done === true) return NOTHING;
      this.#piece = value;
      this.#at = 0;
    }
    const data = this.#piece.subarray(this.#at, this.#at + length);
    this.#at += data.length;
    this.offset += data.length;
    return data;
  }

  /** `length` bytes, fewer only at the end. They are copied if they are in several pieces. */
  take(length: number): Uint8Array {
    const first = this.some(length);
    if (first.length === length) return first;
    const parts = [first];
    let have = first.length;
    while (have < length) {
      const part = this.some(length - have);
      if (part.length === 0) break;
      parts.push(part);
      have += part.length;
    }
    const out = new Uint8Array(have);
    let at = 0;
    for (const part of parts) {
      out.set(part, at);
      at += part.length;
    }
    return out;
  }
}
