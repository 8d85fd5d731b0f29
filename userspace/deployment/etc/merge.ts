/** The merge of `/etc` from three directories into a fourth. */
import { fromText, toBytes } from "../../../src/formats/bytestring.ts";
import {
  AT_SYMLINK_NOFOLLOW,
  RENAME_EXCHANGE,
  RENAME_NOREPLACE,
} from "../../../src/linux/constants.ts";
import { replaceFile, withDirectory } from "../../../src/linux/directories.ts";
import { type Fd, isErrno, type Linux } from "../../../src/linux/linux.ts";
import {
  type EtcPlan,
  type EtcStrategy,
  isBlocked,
  mergeEtc,
} from "../../../src/model/etc/merge.ts";
import { reportPlan } from "../../../src/model/etc/report.ts";
import type { FoundDirectory } from "../../../src/model/etc/tree.ts";
import { buildEtc } from "./build.ts";
import { EtcChangedError } from "./content.ts";
import { removeEtc } from "./remove.ts";
import { type EtcPlace, type ScannedEtc, scanEtc } from "./scan.ts";
import { mergeText } from "./text-merge.ts";

/** The name of the report in a deployment's state directory. */
export const ETC_REPORT = "etc-merge.json";

/** The end of the name of what is being built; after the exchange, of what was there before. */
export const ASIDE = ".new";
const REPORT_MODE = 0o644;
/** How often something may change while it is looked at, before that is an error. */
const ATTEMPTS = 3;

/** A tree that is known already, as an image's is, and what it is called in messages. */
export interface KnownEtc {
  readonly tree: FoundDirectory;
  readonly name: string;
}

export interface EtcPlaces {
  /** What the machine's image has. */
  readonly pristine: EtcPlace | KnownEtc;
  /** What the machine has. */
  readonly current: EtcPlace;
  /** What the new image has: the image itself, not the state directory that the result goes to. */
  readonly next: EtcPlace | KnownEtc;
}

export interface EtcTarget {
  /** The directory in which the result gets its name, a deployment's state directory. */
  readonly directory: Fd;
  /** `etc` */
  readonly name: string;
  /** The name of the report, if one shall be written beside it. */
  readonly report?: string;
}

/** There are conflicts about which nobody has decided. */
export class EtcConflictsError extends Error {
  override readonly name = "EtcConflictsError";
  readonly hint = "--etc-conflicts=keep-local, take-image or merge decides";
  readonly plan: EtcPlan;

  constructor(plan: EtcPlan) {
    const { conflicts } = reportPlan(plan);
    const open = conflicts.filter(({ resolution }) => resolution === "none");
    super(`conflicts in /etc: ${open.map(({ path, why }) => `${path}: ${why}`).join("; ")}`);
    this.plan = plan;
  }
}

/** Plans a merge and hands it to `use`; the content of files can be read meanwhile. Changes nothing. */
export function withEtcPlan<T>(
  linux: Linux,
  places: EtcPlaces,
  strategy: EtcStrategy,
  use: (plan: EtcPlan) => T,
): T {
  return whileStill(() => {
    using pristine = openImageEtc(linux, places.pristine);
    using current = scanEtc(linux, places.current, "aside");
    using next = openImageEtc(linux, places.next);
    const trees = { pristine: pristine.tree, current: current.tree, next: next.tree };
    return use(mergeEtc(trees, strategy, mergeText));
  });
}

/** The tree of an image, or what stands for one. */
export function openImageEtc(linux: Linux, etc: EtcPlace | KnownEtc): ScannedEtc {
  if ("dirfd" in etc) return scanEtc(linux, etc, "entered");
  return { tree: etc.tree, [Symbol.dispose]: () => {} };
}

/** Runs `action` again if something changed while it was looked at. */
export function whileStill<T>(action: () => T): T {
  for (let attempt = 1; ; attempt++) {
    try {
      return action();
    } catch (error) {
      if (!(error instanceof EtcChangedError) || attempt === ATTEMPTS) throw error;
    }
  }
}

/**
 * Merges, and puts the result in place of `target`. Returns the plan that was carried out. Throws `EtcConflictsError`
 * where there are conflicts without a decision: then nothing is changed but the report.
 *
 * 1. What an earlier run has left as `etc.new` is removed.
 * 2. `etc.new` is built, and everything is synced (`syncfs`).
 * 3. `etc` and `etc.new` are exchanged, or `etc.new` renamed where there is no `etc`; the directory is synced. Until here
 *    `etc` is the old one, from here on the new one, and always whole.
 * 4. The report is written, and the old one removed.
 *
 * It can be run again at any time: it never reads `target`.
 */
export function mergeEtcInto(
  linux: Linux,
  places: EtcPlaces,
  strategy: EtcStrategy,
  target: EtcTarget,
): EtcPlan {
  return withEtcPlan(linux, places, strategy, (plan) => {
    if (isBlocked(plan)) {
      writeReport(linux, target, plan);
      throw new EtcConflictsError(plan);
    }
    requireReadable(plan, places);
    const aside = `${target.name}${ASIDE}`;
    removeEtc(linux, target.directory, aside);
    try {
      buildEtc(linux, target.directory, aside, plan.tree);
      withDirectory(linux, target.directory, ".", (fd) => linux.syncfs(fd));
      exchange(linux, target.directory, aside, target.name);
    } catch (error) {
      removeQuietly(linux, target.directory, aside);
      throw error;
    }
    withDirectory(linux, target.directory, ".", (fd) => linux.fsync(fd));
    writeReport(linux, target, plan);
    removeEtc(linux, target.directory, aside);
    return plan;
  });
}

/** What may not be read may have been changed; then nobody knows whose version is right. */
function requireReadable(plan: EtcPlan, { current, next }: EtcPlaces): void {
  const report = reportPlan(plan);
  const hidden = [
    ...report.local.map((change) => ({ ...change, in: current.name })),
    ...report.steps.map((change) => ({ ...change, in: next.name })),
  ].find(({ change }) => change === "unreadable");
  if (hidden !== undefined) throw new Error(`${hidden.in}/${hidden.path}: it may not be read`);
}

function exchange(linux: Linux, directory: Fd, from: string, to: string): void {
  const exists = hasEntry(linux, directory, to);
  linux.renameat2(directory, from, directory, to, exists ? RENAME_EXCHANGE : RENAME_NOREPLACE);
}

function hasEntry(linux: Linux, directory: Fd, name: string): boolean {
  try {
    linux.statx(directory, toBytes(fromText(name)), AT_SYMLINK_NOFOLLOW);
    return true;
  } catch (error) {
    if (isErrno(error, "ENOENT")) return false;
    throw error;
  }
}

/** After another error, which says more than this one would. */
function removeQuietly(linux: Linux, directory: Fd, name: string): void {
  try {
    removeEtc(linux, directory, name);
  } catch {
    // the next run tries again
  }
}

function writeReport(linux: Linux, { directory, report }: EtcTarget, plan: EtcPlan): void {
  if (report === undefined) return;
  const text = `${JSON.stringify(reportPlan(plan), null, 2)}\n`;
  replaceFile(linux, directory, report, toBytes(fromText(text)), REPORT_MODE);
}
