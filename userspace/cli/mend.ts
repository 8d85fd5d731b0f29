/** Writes again what boot partitions have lost, before a command goes on that changes what is booted; and tells. */
import { type Machine, understand } from "../../src/model/deployments.ts";
import { stepText } from "../../src/model/steps.ts";
import type { Loader } from "../deployment/host.ts";
import { observe } from "../deployment/observe.ts";
import { planRepair, type RepairPlan, repair, repairSteps } from "../deployment/repair.ts";
import { describeError } from "./errors.ts";
import type { OpenMachine } from "./machine.ts";
import type { Report } from "./report.ts";
import { warn } from "./staging-decision.ts";

/**
 * "write": what is lost is written, and told. "tell": it is told what would be. "check": only that something is lost.
 * Returns the machine as it is then, or would be. What cannot be written again is a warning.
 */
export function mend(
  { host, repository }: OpenMachine,
  how: "write" | "tell" | "check",
  report: Report,
): Machine {
  const plan = planRepair(host, repository, observe(host, repository));
  const lost = repairSteps(plan).length > 0;
  if (how === "check") {
    if (lost) warn("boot files are lost, which cfsboot upgrade writes again: see cfsboot status");
    return understand(plan.seen);
  }
  const { running } = host;
  const why = running === undefined ? undefined : plan.hopeless.get(running.id);
  if (running !== undefined && why !== undefined && understand(plan.seen).booted === undefined) {
    const name = running.id.slice(0, 12);
    throw new Error(`what runs, ${name}, is not in the boot menu, and cannot be put there again`, {
      cause: why,
    });
  }
  warnOfHopeless(plan);
  if (!lost) return understand(plan.seen);
  if (how === "write") repair(host, plan);
  tellRepair(plan, host.loader, report);
  return how === "tell" ? understand(plan.seen) : understand(observe(host, repository).seen);
}

/** Tells what is, or will be, written. */
export function tellRepair(plan: RepairPlan, loader: Loader, report: Report): void {
  const machine = understand(plan.seen);
  const steps = repairSteps(plan);
  report.tell(
    steps,
    machine,
    steps.map((step) => `Mended: ${stepText(step, machine)}`),
  );
  if (plan.wasEmpty) warn(`the boot menu was empty: ${LOADER_HINTS[loader]}`);
}

const ANEW = "if its partition was made anew, the boot loader itself is missing, too:";
const LOADER_HINTS: Readonly<Record<Loader, string>> = {
  "systemd-boot": `${ANEW} bootctl install puts it there`,
  grub: `${ANEW} grub-install puts it there`,
  "grub-cc": `${ANEW} it is installed again by the tool that brought it`,
};

/** Warns of what cannot be repaired. */
export function warnOfHopeless({ hopeless }: RepairPlan): void {
  for (const [id, why] of hopeless) {
    const message = describeError(why).message;
    warn(`the boot files of ${id.slice(0, 12)} cannot be written again: ${message}`);
  }
}
