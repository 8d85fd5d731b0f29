/** What `image pull` shows on a terminal while it works: one bar for all of it, one per layer on its way. */

import { MultiBar, Presets, type SingleBar } from "cli-progress";
import { megabytes } from "../../src/model/size-text.ts";
import type { LayerPlan, PullProgress } from "../oci/pull.ts";

export interface TerminalProgress extends PullProgress {
  /** Takes the bars away, so that what is printed next stands alone. */
  stop(): void;
}

/** Bars on standard error. Only for a terminal. */
export function terminalProgress(): TerminalProgress {
  const bars = new MultiBar(
    {
      stream: process.stderr,
      clearOnComplete: true,
      hideCursor: true,
      fps: 8,
      format: "{label} {bar} {percentage}% {figures}",
      barsize: 24,
    },
    Presets.shades_classic,
  );
  // the bars have changed how the terminal behaves: who is interrupted puts that right first
  const interrupted = (signal: NodeJS.Signals) => {
    bars.stop();
    process.off("SIGINT", interrupted).off("SIGTERM", interrupted);
    process.kill(process.pid, signal);
  };
  process.on("SIGINT", interrupted).on("SIGTERM", interrupted);

  const active = new Map<number, { bar: SingleBar; bytes: number; size: number }>();
  let plans: readonly LayerPlan[] = [];
  let total: SingleBar | undefined;
  let started = 0;
  let bytes = 0;
  let size = 0;
  let done = 0;
  let missing = 0;
  /** Bytes of layers that are not fetched because they are here. */
  let spared = 0;

  const totalFigures = () => {
    const seconds = Math.max(0.001, (Date.now() - started) / 1000);
    const reused = plans.length - missing;
    return [
      `${megabytes(bytes)} of ${megabytes(size)}`,
      `${megabytes(bytes / seconds)}/s`,
      `${done} of ${missing} layers`,
      ...(reused > 0 ? [`${reused} reused`] : []),
      ...(spared > 0 ? [`${megabytes(spared)} of others reused`] : []),
    ].join(", ");
  };

  /** From now on so many bytes are expected of a layer. */
  const expectBytes = (index: number, layerSize: number) => {
    const layer = active.get(index);
    const plan = plans[index];
    if (layer === undefined || plan === undefined) return;
    size += layerSize - layer.size;
    spared += layer.size - layerSize;
    layer.size = layerSize;
    layer.bar.setTotal(layerSize);
    total?.setTotal(size);
  };

  return {
    layers(all) {
      plans = all;
      const fetched = all.filter(({ present }) => !present);
      missing = fetched.length;
      size = fetched.reduce((sum, layer) => sum + layer.size, 0);
      started = Date.now();
      if (missing > 0)
        total = bars.create(size, 0, { label: "image".padEnd(12), figures: totalFigures() });
    },
    received(index, count) {
      const plan = plans[index];
      if (plan === undefined) return;
      let layer = active.get(index);
      if (layer === undefined) {
        const label = plan.digest.slice("sha256:".length, "sha256:".length + 12);
        const bar = bars.create(plan.size, 0, { label, figures: "" });
        layer = { bar, bytes: 0, size: plan.size };
        active.set(index, layer);
      }
      layer.bytes += count;
      bytes += count;
      layer.bar.update(layer.bytes, {
        figures: `${megabytes(layer.bytes)} of ${megabytes(layer.size)}`,
      });
      total?.update(bytes, { figures: totalFigures() });
    },
    partial: expectBytes,
    whole(index) {
      const plan = plans[index];
      if (plan !== undefined) expectBytes(index, plan.size);
    },
    stored(index) {
      const layer = active.get(index);
      if (layer !== undefined) bars.remove(layer.bar);
      active.delete(index);
      done++;
      total?.update(bytes, { figures: totalFigures() });
    },
    committing() {
      bars.stop();
      process.stderr.write("making the filesystem image ...\r");
    },
    stop() {
      process.off("SIGINT", interrupted).off("SIGTERM", interrupted);
      bars.stop();
      process.stderr.write("\x1b[K"); // the line that `committing` wrote
    },
  };
}
