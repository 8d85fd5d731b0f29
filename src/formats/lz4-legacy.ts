/**
 * LZ4's legacy frames, in which the kernel's build and the makers of an initramfs compress with lz4 (`lz4 -l`).
 *
 * Specification: lz4_Frame_format.md ("Legacy frame") and lz4_Block_format.md of lz4.
 */

/** As it is in a file. */
export const LZ4_LEGACY_MAGIC: readonly number[] = [0x02, 0x21, 0x4c, 0x18];

/** Every block but the last one has so much data. */
const MAX_BLOCK = 8 << 20;
/** What a block of that size has at most where nothing could be compressed. */
const MAX_COMPRESSED = MAX_BLOCK + (MAX_BLOCK / 255 + 16);
const SIZE = 4;
const MIN_MATCH = 4;

/** Decompresses data that comes in pieces: frames that follow one another, with zeros after them. */
export class Lz4LegacyDecoder {
  readonly #out = new Uint8Array(MAX_BLOCK);
  #block = new Uint8Array(1 << 16);
  #have = 0;
  #want = SIZE;
  #isBlock = false;
  #offset = 0;

  /** Data of the next piece; each array is only good until the next one is asked for. Throws where it is damaged. */
  *push(data: Uint8Array): Generator<Uint8Array> {
    for (let at = 0; at < data.length; ) {
      const taken = Math.min(this.#want - this.#have, data.length - at);
      this.#reserve(this.#have + taken);
      this.#block.set(data.subarray(at, at + taken), this.#have);
      at += taken;
      this.#have += taken;
      this.#offset += taken;
      if (this.#have < this.#want) continue;
      const part = this.#block.subarray(0, this.#want);
      this.#have = 0;
      if (this.#isBlock) {
        const size = decodeBlock(part, this.#out, this.#offset - part.length);
        this.#isBlock = false;
        this.#want = SIZE;
        yield this.#out.subarray(0, size);
      } else {
        this.#readSize(part);
      }
    }
  }

  /** Throws if the data ended within a block. */
  end(): void {
    const rest = this.#block.subarray(0, this.#have);
    if (this.#isBlock || rest.some((byte) => byte !== 0)) throw damaged(this.#offset, "cut off");
  }

  #readSize(part: Uint8Array): void {
    if (LZ4_LEGACY_MAGIC.every((byte, i) => part[i] === byte)) return;
    const size = part[0]! + part[1]! * 2 ** 8 + part[2]! * 2 ** 16 + part[3]! * 2 ** 24;
    if (size === 0) return; // padding
    if (size > MAX_COMPRESSED) {
      throw damaged(this.#offset - SIZE, `a block of ${size} bytes, expected at most ${MAX_BLOCK}`);
    }
    this.#isBlock = true;
    this.#want = size;
  }

  /** Grows with what is there, not with what is announced. */
  #reserve(size: number): void {
    if (size <= this.#block.length) return;
    const larger = new Uint8Array(Math.min(2 * size, MAX_COMPRESSED + SIZE));
    larger.set(this.#block.subarray(0, this.#have));
    this.#block = larger;
  }
}

/** Returns the size of the data. `offset` is for messages. */
function decodeBlock(block: Uint8Array, out: Uint8Array, offset: number): number {
  let at = 0;
  let size = 0;
  const length = (nibble: number): number => {
    let value = nibble;
    if (nibble < 15) return value;
    for (;;) {
      const byte = block[at++];
      if (byte === undefined) throw damaged(offset + at, "a length is cut off");
      value += byte;
      if (byte < 255) return value;
    }
  };
  while (at < block.length) {
    const token = block[at++]!;
    const literals = length(token >> 4);
    if (at + literals > block.length) throw damaged(offset + at, "literals are cut off");
    if (size + literals > out.length) throw damaged(offset + at, "more than a block may have");
    out.set(block.subarray(at, at + literals), size);
    at += literals;
    size += literals;
    if (at === block.length) return size;
    if (at + 2 > block.length) throw damaged(offset + at, "a distance is cut off");
    const distance = block[at]! + 256 * block[at + 1]!;
    at += 2;
    if (distance === 0 || distance > size) {
      throw damaged(offset + at - 2, `a distance of ${distance} where ${size} bytes are`);
    }
    const match = length(token & 15) + MIN_MATCH;
    if (size + match > out.length) throw damaged(offset + at, "more than a block may have");
    if (match <= distance) out.copyWithin(size, size - distance, size - distance + match);
    else for (let i = size; i < size + match; i++) out[i] = out[i - distance]!;
    size += match;
  }
  return size;
}

function damaged(offset: number, why: string): Error {
  return new Error(`lz4 offset ${offset}: ${why}`);
}
