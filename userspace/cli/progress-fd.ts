/**
 * `--progress-fd`: progress for programs, as bootc writes it: one JSON object a line (`progress-v0.schema.json` there),
 * first one that names the version.
 */
import { fstatSync, writeSync } from "node:fs";
import type { LayerPlan, PullProgress } from "../oci/pull.ts";
import { UsageError } from "./errors.ts";

const VERSION = "0.1.0";
/** Not more often than that, in milliseconds, while nothing but numbers of bytes change. */
const INTERVAL = 200;

export interface ProgressWriter extends PullProgress {
  /** The image is staged, step by step. */
  staging(steps: number, total: number): void;
}

/** Progress of fetching and staging `image`, to an open pipe. */
export function progressTo(fd: number, image: string): ProgressWriter {
  requirePipe(fd);
  let plans: readonly LayerPlan[] = [];
  const bytes: number[] = [];
  const sizes: number[] = [];
  const stored = new Set<number>();
  let last = 0;

  const write = (event: object) => {
    try {
      writeSync(fd, `${JSON.stringify(event)}\n`);
    } catch {
      // whoever read it is gone, or too slow: the work goes on
    }
  };
  const sum = (list: readonly number[]) => list.reduce((total, one) => total + one, 0);
  const tell = () => {
    last = Date.now();
    const fetched = plans.flatMap(({ present }, index) => (present ? [] : [index]));
    const cached = plans.filter(({ present }) => present);
    write({
      type: "ProgressBytes",
      task: "pulling",
      description: `Pulling Image: ${image}`,
      id: image,
      bytesCached: sum(cached.map(({ size }) => size)),
      bytes: sum(bytes),
      bytesTotal: sum(sizes),
      stepsCached: cached.length,
      steps: stored.size,
      stepsTotal: plans.length,
      subtasks: fetched
        .filter((index) => (bytes[index] ?? 0) > 0)
        .map((index) => ({
          subtask: "layer",
          description: "Layer",
          id: plans[index]!.digest.slice("sha256:".length, "sha256:".length + 12),
          bytesCached: plans[index]!.size - sizes[index]!,
          bytes: stored.has(index) ? sizes[index]! : bytes[index]!,
          bytesTotal: sizes[index]!,
        })),
    });
  };
  const staging = (steps: number, total: number) =>
    write({
      type: "ProgressSteps",
      task: "staging",
      description: `Deploying Image: ${image}`,
      id: "staging",
      stepsCached: 0,
      steps,
      stepsTotal: total,
      subtasks: [
        { subtask: "staging", description: "Staging", id: "staging", completed: steps === total },
      ],
    });

  write({ type: "Start", version: VERSION });
  return {
    layers(all) {
      plans = all;
      for (const [index, { size, present }] of all.entries()) {
        bytes[index] = 0;
        sizes[index] = present ? 0 : size;
      }
      tell();
    },
    received(index, count) {
      bytes[index] = (bytes[index] ?? 0) + count;
      if (Date.now() - last >= INTERVAL) tell();
    },
    partial(index, size) {
      sizes[index] = size;
    },
    whole(index) {
      sizes[index] = plans[index]?.size ?? 0;
    },
    stored(index) {
      stored.add(index);
      tell();
    },
    staging,
  };
}

function requirePipe(fd: number): void {
  try {
    const stat = fstatSync(fd);
    if (stat.isFIFO() || stat.isSocket()) return;
  } catch (error) {
    throw new UsageError(`--progress-fd ${fd}: expected an open pipe`, { cause: error });
  }
  throw new UsageError(`--progress-fd ${fd}: expected a pipe`);
}

/** All of what is to be told, in this order. */
export function bothProgress(...all: readonly PullProgress[]): PullProgress {
  return {
    layers: (plans) => each(all, (one) => one.layers?.(plans)),
    received: (index, count) => each(all, (one) => one.received?.(index, count)),
    partial: (index, size) => each(all, (one) => one.partial?.(index, size)),
    whole: (index, why) => each(all, (one) => one.whole?.(index, why)),
    stored: (index) => each(all, (one) => one.stored?.(index)),
    committing: () => each(all, (one) => one.committing?.()),
  };
}

function each(all: readonly PullProgress[], tell: (one: PullProgress) => void): void {
  for (const one of all) tell(one);
}
