/**
 * Storing layers on a thread of its own. Decompression, hashing and writing happen there; this thread only hands over what
 * arrives, and at most a few pieces ahead of what is taken.
 */
import { Worker } from "node:worker_threads";
import type { Repository } from "../repository/repository.ts";
import { unpackError } from "../thread-error.ts";
import type { ImportStats } from "./layer.ts";
import type { FromStore, LayerThreadData, ToStore } from "./layer-messages.ts";
import type { LayerJob, LayerStore } from "./store-layer.ts";

/** In the bundle all modules are one file, which looks at what thread it runs on. */
const PROGRAM = import.meta.url.endsWith(".ts")
  ? new URL("./layer-thread-main.ts", import.meta.url)
  : new URL(import.meta.url);

/** Size of the pieces that are handed over, in bytes: what arrives in smaller ones is collected. */
const PIECE = 1 << 17;
/** So much is handed over ahead, in bytes. */
const AHEAD = 1 << 20;
/**
 * In MiB. What a thread allocates are mostly buffers of decompressed data, which the collector does not count as young
 * objects: the sooner these fill up, the sooner buffers go with them, at little cost.
 */
const YOUNG_GENERATION = 2;

/** The layer that is on its way. */
interface Current {
  /** Bytes that were handed over and not yet taken. */
  ahead: number;
  /** Called when some were taken, or when there is an answer. */
  wake: (() => void) | undefined;
  answered: boolean;
  answer(stored: () => ImportStats): void;
}

export class LayerThread implements LayerStore {
  readonly #worker: Worker;
  readonly #ended: Promise<void>;
  #current: Current | undefined;
  /** Why the thread is gone. */
  #failure: Error | undefined;

  /** Starts a thread that stores into the same repository, which must stay open until this is closed. */
  constructor(repository: Repository) {
    const data: LayerThreadData = {
      // the very directory that is open, whatever has become of its path
      repository: `/proc/self/fd/${repository.files.root}`,
      insecure: repository.insecure,
    };
    this.#worker = new Worker(PROGRAM, {
      workerData: data,
      name: "layers",
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION },
    });
    this.#worker.on("message", (message: FromStore) => this.#receive(message));
    this.#worker.on("error", (error) => this.#fail(error));
    this.#ended = new Promise((resolve) => {
      this.#worker.on("exit", () => {
        this.#fail(new Error("ended unexpectedly"));
        resolve();
      });
    });
  }

  async store(job: LayerJob, source: AsyncIterable<Uint8Array>): Promise<ImportStats> {
    if (this.#failure !== undefined) throw this.#failure;
    const { promise, resolve, reject } = promiseWithResolvers<ImportStats>();
    const current: Current = {
      ahead: 0,
      wake: undefined,
      answered: false,
      answer(stored) {
        current.answered = true;
        current.wake?.();
        try {
          resolve(stored());
        } catch (error) {
          reject(error);
        }
      },
    };
    this.#current = current;
    this.#send({ type: "begin", job });
    let broken: { readonly error: unknown } | undefined;
    this.#handOver(source, current).catch((error) => {
      broken = { error };
      if (!current.answered) this.#send({ type: "cancel" });
    });
    try {
      return await promise;
    } catch (error) {
      throw broken === undefined ? error : broken.error;
    } finally {
      this.#current = undefined;
    }
  }

  async close(): Promise<void> {
    this.#send({ type: "close" });
    await this.#ended;
  }

  async #handOver(source: AsyncIterable<Uint8Array>, current: Current): Promise<void> {
    for await (const bytes of inPieces(source)) {
      while (current.ahead >= AHEAD && !current.answered) {
        await new Promise<void>((resolve) => {
          current.wake = resolve;
        });
      }
      if (current.answered) return;
      current.ahead += bytes.length;
      this.#send({ type: "bytes", bytes }, bytes.buffer);
    }
    if (!current.answered) this.#send({ type: "end" });
  }

  #send(message: ToStore, ...transfer: ArrayBuffer[]): void {
    this.#worker.postMessage(message, transfer);
  }

  #receive(message: FromStore): void {
    const current = this.#current!;
    switch (message.type) {
      case "taken":
        current.ahead -= message.size;
        current.wake?.();
        break;
      case "stored":
        current.answer(() => message.stats);
        break;
      case "failed":
        current.answer(() => {
          throw unpackError(message.error);
        });
    }
  }

  #fail(cause: Error): void {
    this.#failure ??= new Error("thread that stores layers", { cause });
    const failure = this.#failure;
    this.#current?.answer(() => {
      throw failure;
    });
  }
}

/** The same bytes in buffers that nobody else has a part of. */
async function* inPieces(
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
  const newPiece = () => Buffer.allocUnsafeSlow(PIECE);
  let piece = newPiece();
  let length = 0;
  for await (const chunk of source) {
    for (let at = 0; at < chunk.length; ) {
      const part = chunk.subarray(at, at + PIECE - length);
      piece.set(part, length);
      at += part.length;
      length += part.length;
      if (length < PIECE) continue;
      yield piece;
      piece = newPiece();
      length = 0;
    }
  }
  if (length > 0) yield piece.subarray(0, length);
}

/** `Promise.withResolvers`, which Node 20 lacks. */
function promiseWithResolvers<T>() {
  let resolve!: (value: T) => void;
  let reject!: (reason: unknown) => void;
  const promise = new Promise<T>((...functions) => {
    [resolve, reject] = functions;
  });
  return { promise, resolve, reject };
}
