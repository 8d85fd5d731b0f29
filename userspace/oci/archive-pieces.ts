/**
 * An archive on its way to who stores it (perhaps on another thread), as one stream of bytes, although the bodies of some of
 * its files are in the store and only named.
 *
 * Each piece begins with an i64, little-endian: below zero, so many bytes of the archive follow; else the digest of an
 * object follows, which has so many.
 */
import { DIGEST_SIZE, type HashName } from "../../src/formats/digest.ts";

/** A body that is in the store. */
export interface BodyObject {
  readonly digest: Uint8Array;
  readonly size: number;
}

export type ArchivePiece = Uint8Array | BodyObject;

const HEAD_SIZE = 8;

export async function* encodePieces(
  pieces: AsyncIterable<ArchivePiece>,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const piece of pieces) {
    const head = new Uint8Array(HEAD_SIZE);
    const isBytes = piece instanceof Uint8Array;
    const value = isBytes ? -piece.length : piece.size;
    if (value === 0) continue;
    new DataView(head.buffer).setBigInt64(0, BigInt(value), true);
    yield head;
    yield isBytes ? piece : piece.digest;
  }
}

/** Takes such a stream apart; bytes come in pieces of any size. */
export class PieceReader {
  readonly #digestSize: number;
  /** Of a head, or of a head and a digest. */
  #held = new Uint8Array(0);
  /** Bytes of the archive that follow. */
  #left = 0;

  constructor(hash: HashName) {
    this.#digestSize = DIGEST_SIZE[hash];
  }

  /** The pieces in the next bytes, as views of these. */
  push(chunk: Uint8Array): ArchivePiece[] {
    const pieces: ArchivePiece[] = [];
    for (let at = 0; at < chunk.length; ) {
      if (this.#left > 0) {
        const bytes = chunk.subarray(at, at + this.#left);
        pieces.push(bytes);
        this.#left -= bytes.length;
        at += bytes.length;
        continue;
      }
      const wanted = this.#wanted() - this.#held.length;
      const part = chunk.subarray(at, at + wanted);
      const held = new Uint8Array(this.#held.length + part.length);
      held.set(this.#held);
      held.set(part, this.#held.length);
      this.#held = held;
      at += part.length;
      if (held.length < this.#wanted()) continue;
      const value = this.#value();
      if (value < 0) this.#left = -value;
      else pieces.push({ digest: held.subarray(HEAD_SIZE), size: value });
      this.#held = new Uint8Array(0);
    }
    return pieces;
  }

  /** Throws if the stream ends inside a piece. */
  end(): void {
    if (this.#left > 0 || this.#held.length > 0) throw new Error("ends inside a piece");
  }

  /** How many bytes must be held before anything can be made of them. */
  #wanted(): number {
    return this.#held.length < HEAD_SIZE || this.#value() < 0
      ? HEAD_SIZE
      : HEAD_SIZE + this.#digestSize;
  }

  #value(): number {
    return Number(new DataView(this.#held.buffer).getBigInt64(0, true));
  }
}
