/**
 * `/etc/cfsboot/cfsboot.toml`: what the commands that upgrade a machine do where their options say nothing.
 *
 *     keep = 2                # deployments, besides pinned ones
 *     count-boots = true      # new deployments must come up
 *     etc-conflicts = "fail"
 *
 * Another key is an error, so that a misspelled one does not go unnoticed.
 */
import { ETC_CONFLICTS, type EtcConflicts, parseEtcConflicts } from "./etc-conflicts.ts";
import { parseToml } from "./toml-document.ts";

export interface CfsbootConf {
  /** How many deployments there are besides pinned ones, 2 or more. */
  readonly keep: number;
  /** Whether the boots of a new deployment are counted until one of them went well. */
  readonly countBoots: boolean;
  readonly etcConflicts: EtcConflicts;
}

/** What counts without a file. */
export const DEFAULT_CONF: CfsbootConf = { keep: 2, countBoots: true, etcConflicts: "fail" };

export const CONF_KEYS = ["keep", "count-boots", "etc-conflicts"] as const;
/** As many as anybody has room for. */
export const MAX_KEEP = 1000;

/** Reads a file's text. Throws an error that names `file` and the key, or the line. */
export function parseCfsbootConf(text: string, file: string): CfsbootConf {
  const table = parseToml(text, file);
  const unknown = table.keys().find((key) => !(CONF_KEYS as readonly string[]).includes(key));
  if (unknown !== undefined) {
    table.fail(unknown.slice(0, 100), `expected one of ${CONF_KEYS.join(", ")}`);
  }
  const keep = table.optionalInteger("keep") ?? DEFAULT_CONF.keep;
  if (keep < 2 || keep > MAX_KEEP) table.fail("keep", `expected a number from 2 to ${MAX_KEEP}`);
  const word = table.optionalString("etc-conflicts") ?? DEFAULT_CONF.etcConflicts;
  const etcConflicts = parseEtcConflicts(word);
  if (etcConflicts === undefined) {
    return table.fail("etc-conflicts", `expected one of ${ETC_CONFLICTS.join(", ")}`);
  }
  const countBoots = table.has("count-boots")
    ? table.boolean("count-boots")
    : DEFAULT_CONF.countBoots;
  return { keep, countBoots, etcConflicts };
}
