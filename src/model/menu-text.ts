/** Deployments for people. */
import { formatOriginImage } from "../formats/origin.ts";
import type { Deployment, Machine } from "./deployments.ts";

/** `1 5aedd6292fb3 quay.io/x/y:tag (rollback)`; one that the machine has no longer has no index. */
export function deploymentText(machine: Machine, one: Deployment): string {
  const place = machine.deployments.findIndex(({ id }) => id === one.id);
  const index = place < 0 ? "" : `${place} `;
  const image = one.state?.origin?.image;
  const reference =
    image === undefined ? "" : ` ${formatOriginImage(image).replace(/^[^:]*:/, "")}`;
  return `${index}${one.id.slice(0, 12)}${reference.replace(" docker://", " ")} (${one.slot})`;
}
