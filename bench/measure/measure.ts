/** Runs programs by way of `measure.c`, which knows their time and their peak memory. */
import { execFileSync, spawnSync } from "node:child_process";
import { join } from "node:path";

export interface Run {
  /** From before the fork to after the wait. */
  readonly microseconds: number;
  /** Peak resident set of the largest process, in KiB. */
  readonly peak: number;
  /** Processor time of all processes, in microseconds. */
  readonly processor: number;
}

export class Measure {
  readonly #program: string;

  /** Compiles the C program into `scratch`. */
  constructor(scratch: string) {
    this.#program = join(scratch, "measure");
    compileStatic(join(import.meta.dirname, "measure.c"), this.#program);
  }

  /**
   * Runs a command, whose first word is an absolute path, `runs` times. After each run the mount at `umount` is taken away;
   * `wrapper` is a command before it all, such as `unshare -m`.
   */
  run(
    command: readonly string[],
    { runs = 1, umount = "-", wrapper = [] as readonly string[] } = {},
  ): Run[] {
    const [program = "", ...args] = [...wrapper, this.#program, String(runs), umount, ...command];
    const { status, stdout, stderr, error } = spawnSync(program, args, { encoding: "utf8" });
    if (status !== 0) throw new Error(`${command.join(" ")}: ${stderr}`, { cause: error });
    return stdout
      .trim()
      .split("\n")
      .map((line) => {
        const [nanoseconds = Number.NaN, peak = Number.NaN, processor = Number.NaN] = line
          .split(" ")
          .map(Number);
        return { microseconds: nanoseconds / 1000, peak, processor };
      });
  }
}

/** A static program is small itself, and starts at once. */
export function compileStatic(source: string, program: string): void {
  execFileSync("musl-gcc", ["-static", "-O2", "-o", program, source]);
}

/** The value that half of them do not exceed. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)]!;
}
