/**
 * The first boot of a machine whose disk was made where there was no fs-verity: once the repository's objects have it, the
 * boot menu requires it.
 */
import { splitCmdline } from "../../src/formats/cmdline.ts";
import { isErrno } from "../../src/linux/linux.ts";
import type { Observation } from "../../src/model/deployments.ts";
import { isComposefsArgument } from "../../src/model/kargs.ts";
import type { Host } from "../deployment/host.ts";
import { changeOptions } from "../deployment/karg.ts";
import { SEAL_STAMP } from "./seal-stamp.ts";

/**
 * Makes all entries of the menu require fs-verity, and then takes the note away that this is to be done. The repository must
 * be sealed. Returns the ids of the deployments whose entries were changed.
 */
export function requireVerity(host: Host, seen: Observation): string[] {
  const entries = [...seen.menu, ...(seen.stagedMenu ?? [])].filter(
    ({ bootType, insecure }) => bootType === "bls" && insecure,
  );
  const plan = entries.map(({ id, bls }) => ({ id, options: required(bls.options ?? "") }));
  if (plan.length > 0) changeOptions(host, seen, plan);
  try {
    host.linux.unlinkat(host.sysroot, SEAL_STAMP, 0);
  } catch (error) {
    if (!isErrno(error, "ENOENT")) throw error;
  }
  return [...new Set(plan.map(({ id }) => id))];
}

/** A command line without the mark that the image may do without. */
function required(options: string): string {
  return splitCmdline(options)
    .map((karg) => (isComposefsArgument(karg) ? karg.replace("=?", "=") : karg))
    .join(" ");
}
