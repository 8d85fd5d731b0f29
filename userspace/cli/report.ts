/** What a command has done to a machine: for people as it goes on, with `--json` as one object when it ends. */
import { Option } from "commander";
import type { Machine, Slot } from "../../src/model/deployments.ts";
import type { ImageStatus } from "../../src/model/host-status.ts";
import { type Step, stepText, type UntoldStep } from "../../src/model/steps.ts";

export interface ReportFlags {
  readonly json: boolean;
  readonly dryRun: boolean;
}

/** A deployment that a command is about, in the words of `status`. */
export interface Concerned {
  /** `null`: it is not known before the image is there. */
  readonly id: string | null;
  readonly slot: Slot;
  readonly image: ImageStatus | null;
}

/** The object. */
export interface ReportDocument {
  readonly version: 1;
  readonly dryRun: boolean;
  /** Whether anything was changed; of a dry run, whether anything would be. */
  readonly changed: boolean;
  readonly steps: readonly (Step | UntoldStep)[];
  readonly deployments: readonly Concerned[];
  /** Whether it takes a reboot for the machine to run what is booted next; `null`: a reboot has nothing to do with it. */
  readonly rebootRequired: boolean | null;
}

/** How a command ends. */
export interface Ending extends Partial<Pick<ReportDocument, "deployments" | "rebootRequired">> {
  /** Whether `--apply` reboots now. */
  readonly apply?: boolean;
}

export function jsonOption(): Option {
  return new Option("--json", "print one JSON object about what was done, when it is").default(
    false,
  );
}

export class Report {
  readonly #flags: ReportFlags;
  readonly #steps: (Step | UntoldStep)[] = [];

  constructor(flags: ReportFlags) {
    this.#flags = flags;
  }

  /** Prints lines for people. */
  say(lines: readonly string[]): void {
    if (!this.#flags.json) process.stdout.write(lines.map((line) => `${line}\n`).join(""));
  }

  /** Notes what was done, or would be. */
  note(steps: readonly (Step | UntoldStep)[]): void {
    this.#steps.push(...steps);
  }

  /** Notes it, and tells people: that they would be, of a dry run, or else what `done` says. */
  tell(steps: readonly Step[], machine: Machine, done: readonly string[]): void {
    this.note(steps);
    this.say(this.#flags.dryRun ? steps.map((step) => stepText(step, machine)) : done);
  }

  /** Prints the object, if that is wanted, and reboots if that is. */
  async end(ending: Ending, reboot?: () => Promise<void>): Promise<void> {
    const { json, dryRun } = this.#flags;
    const { deployments = [], rebootRequired = null, apply = false } = ending;
    const steps = this.#steps;
    const changed = steps.some((step) => step.do !== "keep");
    if (json) {
      const document: ReportDocument = {
        ...{ version: 1, dryRun, changed, steps, deployments, rebootRequired },
      };
      process.stdout.write(`${JSON.stringify(document)}\n`);
    }
    if (apply && !dryRun) await reboot?.();
  }
}
