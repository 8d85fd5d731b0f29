/**
 * A merge of `/etc` as JSON, for `etc-merge.json` in a deployment's state directory and for `--json`. Paths are relative
 * to `/etc`; bytes that are not printable UTF-8, and the backslash, are written `\xHH`.
 */
import { display } from "../../formats/bytestring.ts";
import type { EtcChange } from "./compare.ts";
import { CONFLICT_SUFFIX, type EtcConflict, type EtcPlan, isBlocked } from "./merge.ts";

export interface EtcChangeReport {
  readonly path: string;
  readonly change: EtcChange["kind"];
  readonly type: EtcChange["type"];
  /** The type that it had, where that is another. */
  readonly was?: EtcChange["type"];
  /** What differs; absent if it is added or removed. */
  readonly differs?: readonly string[];
}

export interface EtcConflictReport {
  readonly path: string;
  readonly kind: EtcConflict["kind"];
  readonly resolution: EtcConflict["resolution"];
  readonly why: string;
  /** Where the new image's version was put. */
  readonly beside?: string;
}

export interface EtcReport {
  readonly version: 1;
  /** "blocked": a conflict has the resolution "none", and nothing was done. */
  readonly outcome: "merged" | "blocked";
  readonly strategy: EtcPlan["strategy"];
  /** What was changed on the machine. */
  readonly local: readonly EtcChangeReport[];
  /** What makes the new image's `/etc` the result. */
  readonly steps: readonly EtcChangeReport[];
  readonly conflicts: readonly EtcConflictReport[];
  /** Device nodes and FIFOs of the machine; they are carried over. */
  readonly special: readonly Pick<EtcChangeReport, "path" | "type">[];
  /** Sockets of the machine; they are left out. */
  readonly sockets: readonly string[];
  /** Mounts on entries of `/etc` that could not be looked beneath; the entries are as in the new image. */
  readonly mounts: readonly string[];
}

const SPECIAL: readonly EtcChange["type"][] = ["character device", "block device", "fifo"];

export function reportChange({ path, kind, type, was, aspects }: EtcChange): EtcChangeReport {
  return {
    path: display(path),
    change: kind,
    type,
    ...(was !== undefined && { was }),
    ...(aspects.length > 0 && { differs: aspects }),
  };
}

export function reportConflict({ path, kind, resolution, why }: EtcConflict): EtcConflictReport {
  const beside = resolution === "beside" ? { beside: display(path) + CONFLICT_SUFFIX } : {};
  return { path: display(path), kind, resolution, why, ...beside };
}

export function reportPlan(plan: EtcPlan): EtcReport {
  return {
    version: 1,
    outcome: isBlocked(plan) ? "blocked" : "merged",
    strategy: plan.strategy,
    local: plan.local.map(reportChange),
    steps: plan.steps.map(reportChange),
    conflicts: plan.conflicts.map(reportConflict),
    special: plan.local
      .filter(({ kind, type }) => kind !== "removed" && SPECIAL.includes(type))
      .map(({ path, type }) => ({ path: display(path), type })),
    sockets: plan.sockets.map(display),
    mounts: plan.mounts.map(display),
  };
}
