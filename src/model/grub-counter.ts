/**
 * How often a new deployment has been tried, where GRUB counts: it cannot rename entries, but it can write variables.
 *
 *     cfsboot_counted=<id>   the deployment that has not proved itself
 *     cfsboot_tries=3        how often it may be tried
 *     boot_counter=3         how often it still may be; 3, 2, 1, 0 and then -1: the entry after it is booted
 *     boot_success=0
 *
 * `boot_counter` and `boot_success` are those that Fedora's GRUB has, too. Without a `boot_counter` the deployment has
 * failed for good: GRUB does not look at it, and it is not the first of the menu.
 */
import type { Tries } from "../formats/boot-count.ts";
import { type GrubEnv, grubEnvValue, setGrubEnv } from "../formats/grubenv.ts";
import type { MenuEntry } from "./menu-entry.ts";

export interface GrubCounter {
  /** The deployment. */
  readonly id: string;
  readonly tries: Tries;
  /** Whether GRUB has given up, and boots the next entry by this counter. */
  readonly fellBack: boolean;
}

/** What the environment says; `undefined` if nothing is counted. */
export function grubCounter(env: GrubEnv): GrubCounter | undefined {
  const id = grubEnvValue(env, "cfsboot_counted");
  if (id === undefined || id === "") return undefined;
  const total = numberOf(grubEnvValue(env, "cfsboot_tries")) ?? 0;
  const counter = grubEnvValue(env, "boot_counter");
  if (counter === undefined || counter === "") {
    return { id, tries: { left: 0, done: total }, fellBack: false };
  }
  // the boot was found good by somebody else
  if (grubEnvValue(env, "boot_success") !== "0") return undefined;
  const left = numberOf(counter) ?? 0;
  return { id, tries: { left, done: Math.max(total - left, 0) }, fellBack: counter === "-1" };
}

/** Counts the boots of a deployment, which comes first in the menu, from now on. */
export function startGrubCounter(env: GrubEnv, id: string, { left, done }: Tries): GrubEnv {
  return setAll(env, {
    cfsboot_counted: id,
    cfsboot_tries: `${left + done}`,
    boot_counter: `${left}`,
    boot_success: "0",
  });
}

/** The deployment has proved itself, or there is nothing more to count. */
export function endGrubCounter(env: GrubEnv): GrubEnv {
  return setAll(env, {
    cfsboot_counted: undefined,
    cfsboot_tries: undefined,
    boot_counter: undefined,
    boot_success: "1",
  });
}

/** The deployment has failed, and is no longer the first of the menu: it is only remembered. */
export function failGrubCounter(env: GrubEnv): GrubEnv {
  return setAll(env, { boot_counter: undefined, boot_success: "1" });
}

/** Entries with what the counter says of one of them. What has failed comes last, as with systemd-boot. */
export function withGrubCounter(
  menu: readonly MenuEntry[],
  counter: GrubCounter | undefined,
): readonly MenuEntry[] {
  const counted = menu.find(({ id }) => id === counter?.id);
  if (counter === undefined || counted === undefined) return menu;
  const told = { ...counted, tries: counter.tries };
  if (counter.tries.left > 0) return menu.map((entry) => (entry === counted ? told : entry));
  return [...menu.filter((entry) => entry !== counted), told];
}

/** What becomes of the counter when the menu is changed by a person: these deployments, in this order. */
export function afterMenuChange(
  env: GrubEnv,
  counter: GrubCounter,
  menu: readonly string[],
): GrubEnv {
  const failed = counter.tries.left === 0;
  if (menu[0] === counter.id) return failed ? endGrubCounter(env) : env;
  return failed && menu.includes(counter.id) ? failGrubCounter(env) : endGrubCounter(env);
}

/**
 * What becomes of it when `running` has come up. GRUB counts before somebody chooses another entry by hand: that was no
 * attempt.
 */
export function afterBoot(
  env: GrubEnv,
  counter: GrubCounter,
  running: string,
  menu: readonly string[],
): GrubEnv {
  if (counter.id === running) return endGrubCounter(env);
  if (!isCounting(env)) return env;
  if (counter.id !== menu[0]) return afterMenuChange(env, counter, menu);
  if (counter.fellBack) return env;
  const { left, done } = counter.tries;
  return startGrubCounter(env, counter.id, {
    left: Math.min(left + 1, left + done),
    done: Math.max(done - 1, 0),
  });
}

function isCounting(env: GrubEnv): boolean {
  return (grubEnvValue(env, "boot_counter") ?? "") !== "";
}

function setAll(env: GrubEnv, values: Readonly<Record<string, string | undefined>>): GrubEnv {
  const pairs = Object.entries(values);
  // what goes makes room for what comes
  const order = [...pairs.filter(([, value]) => value === undefined), ...pairs];
  return order.reduce((all, [name, value]) => setGrubEnv(all, name, value), env);
}

function numberOf(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,3}$/.test(text) ? Number(text) : undefined;
}
