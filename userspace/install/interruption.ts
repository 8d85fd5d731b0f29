/**
 * What stops an installation halfway: Ctrl-C, or who ends the session. It ends as after any other error then, so that
 * what it has opened is closed (loop devices, encrypted volumes) and what it has made is removed.
 */
import { constants } from "node:os";
import { setImmediate } from "node:timers/promises";
import { type Transport, withMethods } from "../oci/transport.ts";

export const SIGNALS = ["SIGHUP", "SIGINT", "SIGTERM"] as const;

/** The exit status of what a signal has ended, as shells say it. */
export function signalStatus(signal: NodeJS.Signals): number {
  return 128 + constants.signals[signal];
}

/** Notices signals from now on, until it is disposed of. They end nothing by themselves. */
export class Interruption implements Disposable {
  readonly #controller = new AbortController();
  readonly #onSignal = (signal: NodeJS.Signals) => {
    const exitStatus = signalStatus(signal);
    this.#controller.abort(Object.assign(new Error(`interrupted by ${signal}`), { exitStatus }));
  };

  constructor() {
    for (const signal of SIGNALS) process.on(signal, this.#onSignal);
  }

  [Symbol.dispose](): void {
    for (const signal of SIGNALS) process.off(signal, this.#onSignal);
  }

  /**
   * The same wish, whose image can no longer be fetched once a signal has come. `goOn` throws then; signals that came while
   * the program did not wait for anything are noticed there.
   */
  stops<T extends { readonly transport: Transport }>(
    wanted: T,
  ): T & { readonly goOn: () => Promise<void> } {
    return {
      ...wanted,
      transport: this.#over(wanted.transport),
      goOn: async () => {
        await setImmediate();
        this.#controller.signal.throwIfAborted();
      },
    };
  }

  #over(transport: Transport): Transport {
    const { signal: stop } = this.#controller;
    const either = (signal: AbortSignal | undefined) =>
      signal === undefined ? stop : AbortSignal.any([stop, signal]);
    async function* stoppable(chunks: AsyncIterable<Uint8Array>) {
      stop.throwIfAborted();
      for await (const chunk of chunks) {
        stop.throwIfAborted();
        yield chunk;
      }
    }
    return withMethods(transport, {
      blob: (descriptor, signal) => stoppable(transport.blob(descriptor, either(signal))),
      ...(transport.blobRange && {
        blobRange: (descriptor, range, signal) =>
          stoppable(transport.blobRange!(descriptor, range, either(signal))),
      }),
    });
  }
}
