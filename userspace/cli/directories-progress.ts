/** Progress over the directories of a repository's objects. */
import { Presets, SingleBar } from "cli-progress";

export interface DirectoriesProgress {
  update(done: number, total: number): void;
  stop(): void;
}

/** A bar on standard error. Only for a terminal. */
export function directoriesProgress(what: string): DirectoriesProgress {
  const bar = new SingleBar(
    {
      stream: process.stderr,
      clearOnComplete: true,
      hideCursor: true,
      format: `${what} {bar} {percentage}%`,
    },
    Presets.shades_classic,
  );
  let started = false;
  return {
    update(done, total) {
      if (!started) bar.start(total, 0);
      started = true;
      bar.update(done);
      bar.render(); // the work leaves no time to timers
    },
    stop() {
      if (started) bar.stop();
    },
  };
}
