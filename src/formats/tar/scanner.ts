/**
 * Cuts an uncompressed tar archive into headers and bodies, whatever pieces its bytes arrive in.
 */
import { BLOCK_SIZE, isZeroBlock } from "./header.ts";
import { MemberReader, type TarMember } from "./member.ts";

/** What a scanner finds, in the order of the archive. Bytes are views that are valid during the call. */
export interface TarHandler {
  /** Bytes that belong to no body: headers, padding, the end of the archive and what follows it. Never empty. */
  framing(bytes: Uint8Array): void;
  /** The headers of a member were read; its body follows. */
  member(member: TarMember): void;
  /** Some bytes of the member's body. Never empty. */
  body(bytes: Uint8Array): void;
  /** The member's body is complete. */
  endBody(): void;
}

type State = "header" | "extension" | "body" | "padding" | "trailer";

/** Push bytes, then call `end`. Every error is about an offset in the archive; a scanner that threw is done for. */
export class TarScanner {
  readonly #handler: TarHandler;
  readonly #members = new MemberReader();
  #state: State = "header";
  /** Offset in the archive of the next byte. */
  #offset = 0;
  /** Collects a header block, or the body of an extension header, that did not arrive in one piece. */
  #collected = new Uint8Array(BLOCK_SIZE);
  #filled = 0;
  /** Bytes that the state (extension, body, padding) still takes. */
  #remaining = 0;
  #padding = 0;
  #sawZeroBlock = false;

  constructor(handler: TarHandler) {
    this.#handler = handler;
  }

  /** How many bytes the body at hand still needs. */
  get bodyRemaining(): number {
    return this.#state === "body" ? this.#remaining : 0;
  }

  /** Whether the end-of-archive marker was read. What follows it means nothing. */
  get finished(): boolean {
    return this.#state === "trailer";
  }

  /** Takes the next bytes of the archive. */
  push(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length; ) {
      const wanted =
        this.#state === "header"
          ? BLOCK_SIZE - this.#filled
          : this.#state === "trailer"
            ? chunk.length
            : this.#remaining;
      const bytes = chunk.subarray(at, at + wanted);
      at += bytes.length;
      this.#offset += bytes.length;
      if (this.#state === "body") this.#handler.body(bytes);
      else this.#handler.framing(bytes);
      this.#take(bytes);
    }
  }

  /** Goes on behind the body at hand, whose bytes are elsewhere. Only before any of them was pushed. */
  skipBody(): void {
    if (this.#state !== "body") throw new Error(`tar offset ${this.#offset}: no body is expected`);
    this.#offset += this.#remaining;
    this.#endBody();
  }

  /** The archive is complete. Throws if it is cut off. */
  end(): void {
    const fail = (where: string) =>
      new Error(`tar offset ${this.#offset}: the archive ends ${where}`);
    if (this.#state === "body") throw fail(`inside a body, ${this.#remaining} bytes are missing`);
    if (this.#state === "padding") throw fail("inside the padding of a body");
    if (this.#state === "extension") throw fail("inside an extension header");
    if (this.#state === "trailer") return;
    if (this.#filled > 0) throw fail(`inside a header block, after ${this.#filled} of its bytes`);
    if (this.#members.pending) throw fail("after an extension header, a member was expected");
    if (this.#sawZeroBlock) throw fail("after one zero block, two were expected");
  }

  #take(bytes: Uint8Array): void {
    switch (this.#state) {
      case "header": {
        const block = this.#collect(bytes, BLOCK_SIZE);
        if (block !== undefined) this.#header(block, this.#offset - BLOCK_SIZE);
        break;
      }
      case "extension": {
        const body = this.#collect(bytes, this.#filled + this.#remaining);
        this.#remaining -= bytes.length;
        if (body !== undefined) this.#endExtension(new Uint8Array(body));
        break;
      }
      case "body":
        this.#remaining -= bytes.length;
        if (this.#remaining === 0) this.#endBody();
        break;
      case "padding":
        this.#remaining -= bytes.length;
        if (this.#remaining === 0) this.#state = "header";
        break;
      case "trailer":
        break;
    }
  }

  /** Returns a whole piece of `size` bytes as soon as it is there; a view. */
  #collect(bytes: Uint8Array, size: number): Uint8Array | undefined {
    if (this.#filled === 0 && bytes.length === size) return bytes;
    if (this.#collected.length < size) {
      const grown = new Uint8Array(size);
      grown.set(this.#collected.subarray(0, this.#filled));
      this.#collected = grown;
    }
    this.#collected.set(bytes, this.#filled);
    this.#filled += bytes.length;
    if (this.#filled < size) return undefined;
    this.#filled = 0;
    return this.#collected.subarray(0, size);
  }

  #header(block: Uint8Array, offset: number): void {
    if (isZeroBlock(block)) {
      if (this.#members.pending) {
        throw new Error(`tar offset ${offset}: expected a member after an extension header`);
      }
      if (this.#sawZeroBlock) this.#state = "trailer";
      this.#sawZeroBlock = true;
      return;
    }
    if (this.#sawZeroBlock) {
      throw new Error(`tar offset ${offset}: expected a second zero block after the first`);
    }
    const header = this.#members.block(block, offset);
    const size = header.type === "member" ? header.member.size : header.size;
    this.#remaining = size;
    this.#padding = (BLOCK_SIZE - (size % BLOCK_SIZE)) % BLOCK_SIZE;
    if (header.type === "member") {
      this.#state = "body";
      this.#handler.member(header.member);
      if (size === 0) this.#endBody();
    } else {
      this.#state = "extension";
      if (size === 0) this.#endExtension(new Uint8Array(0));
    }
  }

  #endExtension(body: Uint8Array): void {
    this.#members.extension(body);
    this.#startPadding();
  }

  #endBody(): void {
    this.#handler.endBody();
    this.#startPadding();
  }

  #startPadding(): void {
    this.#remaining = this.#padding;
    this.#state = this.#padding === 0 ? "header" : "padding";
  }
}
