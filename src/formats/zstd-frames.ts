/**
 * Finds the frames of zstd data (RFC 8878, section 3.1) without decompressing it. Data may be any number of frames, and
 * decoders differ in what they make of the second one: cut at the frames, each gets what it can do. Frames that hold
 * no data (skippable frames) are left out.
 */

const MAGIC = 0xfd2fb528;
/** The low four bits may be anything. */
const SKIPPABLE_MAGIC = 0x184d2a50;
const DICTIONARY_ID_SIZE = [0, 1, 2, 4];
const CONTENT_SIZE_SIZE = [0, 2, 4, 8];
const RESERVED_BLOCK = 3;
const RLE_BLOCK = 1;
const COMPRESSED_BLOCK = 2;

/** A block has at most this many bytes when it is decompressed. */
const MAX_BLOCK = 1 << 17;

/**
 * What decompressing a frame takes, by what its header and its blocks say: its window, and the most that its data can be,
 * in bytes. The frame is whole, as `ZstdFrames` finds it.
 */
export function measureFrame(frame: Uint8Array): {
  readonly window: number;
  readonly most: number;
} {
  const descriptor = frame[4]!;
  const singleSegment = (descriptor & 0x20) !== 0;
  const contentSize = CONTENT_SIZE_SIZE[descriptor >> 6]! || (singleSegment ? 1 : 0);
  let at = 5;
  let window = 0;
  if (!singleSegment) {
    const exponent = frame[at]! >> 3;
    window = 2 ** (10 + exponent) * (1 + (frame[at]! & 7) / 8);
    at++;
  }
  at += DICTIONARY_ID_SIZE[descriptor & 3]!;
  if (singleSegment) {
    for (let i = 0; i < contentSize; i++) window += frame[at + i]! * 2 ** (8 * i);
    if (contentSize === 2) window += 256;
  }
  at += contentSize;
  let most = 0;
  for (let last = false; !last && at + FIELD.blockHeader <= frame.length; ) {
    const header = frame[at]! | (frame[at + 1]! << 8) | (frame[at + 2]! << 16);
    const size = header >> 3;
    const type = (header >> 1) & 3;
    last = (header & 1) !== 0;
    most += type === COMPRESSED_BLOCK ? MAX_BLOCK : size;
    at += FIELD.blockHeader + (type === RLE_BLOCK ? 1 : size);
  }
  return { window, most };
}

/** What is read next: a field of so many bytes. */
const FIELD = { magic: 4, skippableSize: 4, descriptor: 1, blockHeader: 3 } as const;

export class ZstdFrames {
  #field: keyof typeof FIELD = "magic";
  #value = 0;
  #have = 0;
  /** Bytes to pass over before the next field. */
  #pass = 0;
  #offset = 0;
  #inFrame = false;
  #skippable = false;
  #lastBlock = false;
  #checksum = 0;
  #frames = 0;

  /**
   * The pieces of data frames in the next bytes, as views of `chunk`; no piece goes across the end of a frame.
   * Throws at what is not a frame, naming the offset in the whole data.
   */
  push(chunk: Uint8Array): Uint8Array[] {
    const pieces: Uint8Array[] = [];
    let from = 0;
    const cut = (to: number) => {
      if (to > from && !this.#skippable) pieces.push(chunk.subarray(from, to));
      from = to;
    };
    for (let at = 0; at < chunk.length; ) {
      if (this.#pass > 0) {
        const length = Math.min(this.#pass, chunk.length - at);
        this.#pass -= length;
        at += length;
      } else {
        if (!this.#inFrame) {
          // The first byte tells the two magic numbers apart; the field is checked when it is complete.
          this.#inFrame = true;
          this.#skippable = (chunk[at]! & 0xf0) === (SKIPPABLE_MAGIC & 0xf0);
        }
        this.#value += chunk[at++]! * 2 ** (8 * this.#have++);
        if (this.#have === FIELD[this.#field]) this.#take(this.#offset + at);
      }
      if (this.#pass === 0 && this.#lastBlock) {
        cut(at);
        this.#inFrame = false;
        this.#lastBlock = false;
        this.#skippable = false;
        this.#frames++;
      }
    }
    cut(chunk.length);
    this.#offset += chunk.length;
    return pieces;
  }

  /** Throws unless the data ends here well: at the end of a frame, and after at least one. */
  end(): void {
    if (this.#inFrame)
      throw new Error(`zstd data ends inside a frame, after ${this.#offset} bytes`);
    if (this.#frames === 0) throw new Error("no zstd data");
  }

  /** A field is complete; it ends at `end`. */
  #take(end: number): void {
    const value = this.#value;
    this.#value = 0;
    this.#have = 0;
    switch (this.#field) {
      case "magic":
        if (value === MAGIC) this.#field = "descriptor";
        else if (value - (value % 16) === SKIPPABLE_MAGIC) this.#field = "skippableSize";
        else throw new Error(`offset ${end - FIELD.magic}: no zstd frame`);
        return;
      case "skippableSize":
        this.#field = "magic";
        this.#pass = value;
        this.#lastBlock = true;
        return;
      case "descriptor": {
        const singleSegment = (value & 0x20) !== 0;
        const contentSize = CONTENT_SIZE_SIZE[value >> 6]! || (singleSegment ? 1 : 0);
        this.#checksum = (value & 0x04) !== 0 ? 4 : 0;
        this.#pass = (singleSegment ? 0 : 1) + DICTIONARY_ID_SIZE[value & 3]! + contentSize;
        this.#field = "blockHeader";
        return;
      }
      case "blockHeader": {
        const type = (value >> 1) & 3;
        if (type === RESERVED_BLOCK) {
          throw new Error(`offset ${end - FIELD.blockHeader}: zstd block of unknown type`);
        }
        this.#pass = type === RLE_BLOCK ? 1 : value >> 3;
        if ((value & 1) !== 0) {
          this.#pass += this.#checksum;
          this.#lastBlock = true;
          this.#field = "magic";
        }
        return;
      }
    }
  }
}
