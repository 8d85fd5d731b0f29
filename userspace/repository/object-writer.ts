/** Objects on their way into the store, which arrive in pieces. */

export interface StoredObject {
  readonly digest: Uint8Array;
  readonly size: number;
  /** The store had it already. */
  readonly existing: boolean;
}

/** A file on its way into the store. Exactly one of `finish` and `abort` ends it. */
export interface ObjectWriter {
  /** Appends bytes; the buffer may be reused afterwards. */
  write(chunk: Uint8Array): void;
  /** Gives the file its name, which is its digest. If it throws, the file is dropped. */
  finish(): StoredObject;
  /** Drops the file. Does nothing after `finish`. */
  abort(): void;
}

/** Those up to this size are held until the store is asked for them, in bytes. */
const HELD = 1 << 18;

/** Objects of which nothing is written if they are small and the store has them. */
export class HeldObjects {
  readonly #store: (data: Uint8Array) => StoredObject;
  readonly #createFile: () => ObjectWriter;
  /** For the next object; whoever holds one has it. */
  #buffer: Uint8Array | undefined;

  /** `store` stores what was held; `createFile` starts an object that is larger. */
  constructor(store: (data: Uint8Array) => StoredObject, createFile: () => ObjectWriter) {
    this.#store = store;
    this.#createFile = createFile;
  }

  /** Starts an object. */
  create(): ObjectWriter {
    let buffer = this.#buffer ?? new Uint8Array(HELD);
    this.#buffer = undefined;
    let size = 0;
    let large: ObjectWriter | undefined;
    const release = () => {
      this.#buffer = buffer;
      buffer = new Uint8Array(0);
      size = 0;
    };
    return {
      write: (chunk) => {
        if (large === undefined && size + chunk.length > HELD) {
          large = this.#createFile();
          large.write(buffer.subarray(0, size));
          release();
        }
        if (large !== undefined) return large.write(chunk);
        buffer.set(chunk, size);
        size += chunk.length;
      },
      finish: () => {
        if (large !== undefined) return large.finish();
        try {
          return this.#store(buffer.subarray(0, size));
        } finally {
          release();
        }
      },
      abort: () => large?.abort(),
    };
  }
}
