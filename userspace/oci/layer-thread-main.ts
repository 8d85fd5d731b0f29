/**
 * The thread that stores layers: see `LayerThread`, which starts it. It has the repository open on its own, so it holds a
 * shared lock of its own, too.
 */
import { parentPort, workerData } from "node:worker_threads";
import { openRepository, type Repository } from "../repository/repository.ts";
import { packError } from "../thread-error.ts";
import type { FromStore, LayerThreadData, ToStore } from "./layer-messages.ts";
import { type LayerJob, storeLayer } from "./store-layer.ts";

const port = parentPort!;
const data = workerData as LayerThreadData;
let repository: Repository | undefined;
let arriving: Arriving | undefined;

function send(message: FromStore): void {
  port.postMessage(message);
}

port.on("message", (message: ToStore) => {
  switch (message.type) {
    case "begin":
      arriving = new Arriving();
      void run(message.job, arriving);
      break;
    case "bytes":
      arriving!.add(message.bytes);
      break;
    case "end":
      arriving!.end();
      break;
    case "cancel":
      arriving!.cancel();
      break;
    case "close":
      repository?.close();
      port.close();
  }
});

async function run(job: LayerJob, source: Arriving): Promise<void> {
  try {
    repository ??= openRepository(data.repository, { insecure: data.insecure });
    send({ type: "stored", stats: await storeLayer(repository, job, source) });
  } catch (error) {
    send({ type: "failed", error: packError(error) });
  } finally {
    source.cancel(); // a decoder that has failed may still wait for more
  }
}

/** The bytes of a layer, as they arrive. */
class Arriving implements AsyncIterable<Uint8Array> {
  #waiting: Uint8Array[] = [];
  #state: "open" | "ended" | "cancelled" = "open";
  #wake: (() => void) | undefined;

  add(bytes: Uint8Array): void {
    this.#waiting.push(bytes);
    this.#wake?.();
  }

  end(): void {
    this.#state = "ended";
    this.#wake?.();
  }

  cancel(): void {
    this.#state = "cancelled";
    this.#waiting = [];
    this.#wake?.();
  }

  /** May be called again: goes on where it is. */
  [Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    return { next: () => this.#next() };
  }

  async #next(): Promise<IteratorResult<Uint8Array>> {
    for (;;) {
      if (this.#state === "cancelled") throw new Error("cancelled");
      const bytes = this.#waiting.shift();
      if (bytes !== undefined) {
        send({ type: "taken", size: bytes.length });
        return { done: false, value: bytes };
      }
      if (this.#state === "ended") return { done: true, value: undefined };
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}
