/**
 * Splits a layer's tar archive: the contents of large files go out as objects, all other bytes stay inline, so that
 * the archive can be put together again bit for bit.
 */
import { MEMBER_TYPES } from "./member.ts";
import { TarScanner } from "./scanner.ts";

/** Content of regular files up to this size in bytes stays inline. */
export const MAX_INLINE_FILE = 64;

/** What stays inline is held in memory, here and by readers: at most this many bytes of one archive. */
const MAX_INLINE = 3 << 28;

/**
 * Takes the pieces, in the order of the archive. Bytes are views of what was pushed, valid during the call.
 * Every external body is `beginExternal`, any number of `externalData` that add up to its size, `endExternal`.
 */
export interface TarSink {
  inline(bytes: Uint8Array): void;
  beginExternal(size: number): void;
  externalData(bytes: Uint8Array): void;
  endExternal(): void;
}

/**
 * Push the archive's bytes in pieces of any size, then call `end`.
 *
 * Both throw, naming an offset of the archive, for what is not a tar archive that an image can be made of: see
 * `readEntries` for the few things that only it finds. After an error the splitter must not be used any more, and the
 * sink may have been left inside an external body.
 */
export class TarSplitter {
  readonly #scanner: TarScanner;
  /** Whether the body at hand is an external one. */
  #external = false;

  constructor(sink: TarSink) {
    let total = 0;
    const inline = (bytes: Uint8Array) => {
      total += bytes.length;
      if (total > MAX_INLINE) {
        throw new Error(
          `expected at most ${MAX_INLINE} bytes of the archive not to be contents of large files`,
        );
      }
      sink.inline(bytes);
    };
    this.#scanner = new TarScanner({
      framing: inline,
      member: ({ typeLetter, size }) => {
        this.#external = MEMBER_TYPES.get(typeLetter) === "file" && size > MAX_INLINE_FILE;
        if (this.#external) sink.beginExternal(size);
      },
      body: (bytes) => (this.#external ? sink.externalData(bytes) : inline(bytes)),
      endBody: () => {
        if (this.#external) sink.endExternal();
      },
    });
  }

  /** The next bytes of the archive. They are not held on to. */
  push(chunk: Uint8Array): void {
    this.#scanner.push(chunk);
  }

  /** The body that comes next: how many of its bytes are to come, none between bodies, and where they go. */
  get body(): { readonly remaining: number; readonly external: boolean } {
    const remaining = this.#scanner.bodyRemaining;
    return { remaining, external: remaining > 0 && this.#external };
  }

  /** Goes on behind an external body, whose bytes the sink has from elsewhere. Only before any of them was pushed. */
  skipExternal(): void {
    if (!this.body.external) throw new Error("no external body is expected");
    this.#scanner.skipBody();
  }

  /** The archive is complete. */
  end(): void {
    this.#scanner.end();
  }
}
