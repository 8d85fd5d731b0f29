/** Changes of a boot menu that leave all entries in it. */
import type { Deployment, Observation } from "./deployments.ts";
import { distinct } from "./menu-entry.ts";
import { type MenuPlan, PlanError } from "./menu-plan.ts";

/** Throws if a deployment is known not to come up. */
export function requireSound({ id, damage }: Deployment): void {
  if (damage.length === 0) return;
  throw new PlanError(
    `deployment ${id.slice(0, 12)} would not come up: ${damage.join("; ")}`,
    "--force if you know better",
  );
}

/** Whether a plan changes nothing: the menu has these entries, in this order. */
export function leavesMenu({ menu }: Pick<Observation, "menu">, plan: MenuPlan): boolean {
  const present = distinct(menu);
  return (
    plan.dropped.length === 0 &&
    plan.menu.length === present.length &&
    plan.menu.every(({ entry }, place) => entry === present[place])
  );
}

/**
 * The plan, with the boots of its first entry counted anew if it had used them up: systemd-boot puts an entry that has no
 * tries left behind all others, whatever its name is.
 */
export function triedAnew(plan: MenuPlan): MenuPlan {
  const [first, ...rest] = plan.menu;
  const entry = first?.entry;
  if (entry?.tries === undefined || entry.tries.left > 0) return plan;
  const tries = { left: Math.max(entry.tries.done, 1), done: 0 };
  return { ...plan, menu: [{ ...first!, entry: { ...entry, tries } }, ...rest] };
}
