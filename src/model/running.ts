/** Which deployment runs: what the root is mounted from says it, and the kernel's command line how. */
import { ascii, display } from "../formats/bytestring.ts";
import { parseComposefsArguments } from "../formats/cmdline.ts";
import { hashOfHexLength } from "../formats/digest.ts";
import { type MountInfo, mountAt } from "../formats/mountinfo.ts";

export interface Running {
  readonly id: string;
  /** Whether it was booted without the demand for fs-verity. */
  readonly insecure: boolean;
  /** Whether the root can be written to, until the next boot. */
  readonly transient: boolean;
}

export type RunningOrNot = Running | { readonly id: undefined; readonly why: string };

/**
 * What runs. The mount counts, not the command line, which after a soft reboot is still that of the boot before; whether
 * fs-verity is demanded is what the mount says where it is to be seen, else the command line.
 */
export function findRunning(mounts: readonly MountInfo[], cmdline: string): RunningOrNot {
  const root = mountAt(mounts, ascii("/"));
  if (root === undefined) return { id: undefined, why: "nothing is mounted on /" };
  const [, prefix, id = ""] =
    /^(composefs:|transient:composefs=)([0-9a-f]+)$/.exec(root.source) ?? [];
  if (prefix === undefined || hashOfHexLength(id.length) === undefined) {
    const source = display(root.source);
    return { id: undefined, why: `/ is mounted from ${source} (${root.type}), not from composefs` };
  }
  const transient = prefix.startsWith("transient");
  const required = root.superOptions.includes(ascii("verity=require"));
  return { id, insecure: transient ? demandedNothing(cmdline, id) : !required, transient };
}

/** Of a transient root the mount below is hidden. */
function demandedNothing(cmdline: string, id: string): boolean {
  try {
    const images = parseComposefsArguments(cmdline);
    const image = images.find(({ digest }) => digest === id) ?? images[0];
    return image?.insecure ?? false;
  } catch {
    return false;
  }
}
