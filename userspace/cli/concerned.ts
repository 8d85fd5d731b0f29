/** What a report says of deployments, and of the next boot. */
import type { Deployment, Machine } from "../../src/model/deployments.ts";
import { nextDeployment } from "../../src/model/host-status.ts";
import type { Host } from "../deployment/host.ts";
import { imageStatusOf } from "../deployment/status.ts";
import type { OpenMachine } from "./machine.ts";
import type { Concerned } from "./report.ts";

/** Deployments as they are, or were. */
export function concerned(
  { host, repository }: OpenMachine,
  ...deployments: readonly Deployment[]
): Concerned[] {
  return deployments.map((one) => ({
    id: one.id,
    slot: one.slot,
    image: imageStatusOf(host, repository, one),
  }));
}

/** Whether something else than what runs is booted next; `null` where nothing runs. */
export function awaitsReboot({ running }: Host, machine: Machine): boolean | null {
  if (running === undefined) return null;
  const next = nextDeployment(machine);
  return next !== undefined && next.id !== running.id;
}

/** The machine without a deployment. */
export function without(machine: Machine, gone: Deployment): Machine {
  const { staged, deployments } = machine;
  return {
    ...machine,
    staged: staged === gone ? undefined : staged,
    deployments: deployments.filter((one) => one !== gone),
  };
}
