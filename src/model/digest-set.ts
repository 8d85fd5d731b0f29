/**
 * A set of digests for as many as a repository can have: a million take little more memory than their bytes. Each has
 * an index, in the order in which they were added, so that whoever wants to know more of them keeps arrays beside it.
 */
import { DIGEST_SIZE, type HashName } from "../formats/digest.ts";

const PAGE_BITS = 12;
const PAGE = 1 << PAGE_BITS;
const FIRST_SLOTS = 1 << 10;

export class DigestSet {
  readonly #digestSize: number;
  /** The digests, `PAGE` of them each, so that growing copies nothing. */
  readonly #pages: Uint8Array[] = [];
  /** Open addressing: index + 1 of a digest, or 0. A digest is a hash already: its first bytes say where to look. */
  #slots = new Uint32Array(FIRST_SLOTS);
  #size = 0;

  constructor(hash: HashName) {
    this.#digestSize = DIGEST_SIZE[hash];
  }

  get size(): number {
    return this.#size;
  }

  /** The digest's index, after adding it if it was not in the set. */
  add(digest: Uint8Array): number {
    if (digest.length !== this.#digestSize) {
      throw new Error(`digest of ${digest.length} bytes, ${this.#digestSize} expected`);
    }
    const slot = this.#find(digest);
    const known = this.#slots[slot]!;
    if (known !== 0) return known - 1;
    const index = this.#size++;
    const page = index >> PAGE_BITS;
    this.#pages[page] ??= new Uint8Array(PAGE * this.#digestSize);
    this.#pages[page].set(digest, (index & (PAGE - 1)) * this.#digestSize);
    this.#slots[slot] = index + 1;
    if (this.#size * 2 > this.#slots.length) this.#grow();
    return index;
  }

  /** The digest's index; -1 if it is not in the set. */
  indexOf(digest: Uint8Array): number {
    return digest.length === this.#digestSize ? this.#slots[this.#find(digest)]! - 1 : -1;
  }

  has(digest: Uint8Array): boolean {
    return this.indexOf(digest) >= 0;
  }

  /** The digest with an index below `size`: a view, not to be changed. */
  at(index: number): Uint8Array {
    const start = (index & (PAGE - 1)) * this.#digestSize;
    return this.#pages[index >> PAGE_BITS]!.subarray(start, start + this.#digestSize);
  }

  *[Symbol.iterator](): Generator<Uint8Array> {
    for (let index = 0; index < this.#size; index++) yield this.at(index);
  }

  /** The slot that has the digest, or the empty one where it belongs. */
  #find(digest: Uint8Array): number {
    const mask = this.#slots.length - 1;
    let slot = firstSlot(digest, 0) & mask;
    for (; ; slot = (slot + 1) & mask) {
      const entry = this.#slots[slot]!;
      if (entry === 0 || this.#is(entry - 1, digest)) return slot;
    }
  }

  #is(index: number, digest: Uint8Array): boolean {
    const page = this.#pages[index >> PAGE_BITS]!;
    const start = (index & (PAGE - 1)) * this.#digestSize;
    for (let i = 0; i < digest.length; i++) {
      if (page[start + i] !== digest[i]) return false;
    }
    return true;
  }

  #grow(): void {
    const slots = new Uint32Array(this.#slots.length * 2);
    const mask = slots.length - 1;
    for (let index = 0; index < this.#size; index++) {
      const page = this.#pages[index >> PAGE_BITS]!;
      let slot = firstSlot(page, (index & (PAGE - 1)) * this.#digestSize) & mask;
      while (slots[slot] !== 0) slot = (slot + 1) & mask;
      slots[slot] = index + 1;
    }
    this.#slots = slots;
  }
}

function firstSlot(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
}
