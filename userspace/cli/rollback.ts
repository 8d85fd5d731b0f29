/** `cfsboot rollback` */
import type { Command } from "commander";
import type { Deployment, Machine } from "../../src/model/deployments.ts";
import { addExamples } from "./example.ts";
import {
  DEPLOYMENT_HELP,
  dryRunOption,
  type MachineFlags,
  machineOptions,
  type OpenMachine,
  rebootAfter,
  withMachine,
} from "./machine.ts";
import { type Ending, jsonOption, Report, type ReportFlags } from "./report.ts";

interface Flags extends MachineFlags, ReportFlags {
  readonly discardStaged: boolean;
  readonly force: boolean;
  readonly apply: boolean;
}

export function register(program: Command): void {
  const command = program
    .command("rollback")
    .description("boot another deployment from now on; a second time: the one that runs")
    .argument("[deployment]", `${DEPLOYMENT_HELP} (default: the rollback)`)
    .option("--discard-staged", "drop what is staged", false)
    .option("--force", "even if it is known to be damaged", false)
    .option("--apply", "reboot into it", false)
    .addOption(dryRunOption())
    .addOption(jsonOption())
    .action(rollback);
  machineOptions(command);
  addExamples(command, "cfsboot rollback", "cfsboot rollback 2 --apply", "cfsboot rollback --json");
}

async function rollback(name: string | undefined, flags: Flags): Promise<void> {
  const apply = rebootAfter(flags);
  const report = new Report(flags);
  await withMachine(flags, flags.dryRun ? "look" : "change", async (open) =>
    report.end(await rollBack(open, name, flags, report), apply),
  );
}

/** Goes back to a deployment, or to the one that there is to go back to. */
export async function rollBack(
  open: OpenMachine,
  name: string | undefined,
  flags: Pick<Flags, "discardStaged" | "force" | "dryRun">,
  report: Report,
): Promise<Ending> {
  const { host, repository } = open;
  const { observe } = await import("../deployment/observe.ts");
  const { findDeployment, understand } = await import("../../src/model/deployments.ts");
  const { planRollback } = await import("../../src/model/menu-plan.ts");
  const { deploymentText } = await import("../../src/model/menu-text.ts");
  const { menuSteps, stepText } = await import("../../src/model/steps.ts");
  const { leavesMenu, requireSound, triedAnew } = await import("../../src/model/menu-changes.ts");
  const { planRepair, repairKernels } = await import("../deployment/repair.ts");
  const { concerned } = await import("./concerned.ts");
  const { tellRepair, warnOfHopeless } = await import("./mend.ts");
  const sight = observe(host, repository);
  const { seen } = sight;
  const shown = understand(seen);
  // an index is that of status, which does not know what will be there again
  const find = (known: typeof shown) =>
    name === undefined
      ? undefined
      : (known.deployments.find(({ id }) => id === indexed(shown, name)?.id) ??
        findDeployment(known, name));
  const repair = planRepair(host, repository, sight, find);
  const machine = understand(repair.seen);
  const target = find(machine);
  const plan = triedAnew(planRollback(machine, target, flags.discardStaged));
  const first = machine.deployments.find(({ id }) => id === plan.menu[0]!.id)!;
  const why = repair.hopeless.get(first.id);
  if (!flags.force && why !== undefined) {
    const name = first.id.slice(0, 12);
    throw new Error(`the boot files of ${name} cannot be written again`, { cause: why });
  }
  if (!flags.force) requireSound(first);
  warnOfHopeless(repair);
  // the menu that goes back has what the repair would write
  const mended = { ...repair, menu: false };
  if (!flags.dryRun) {
    const { changeMenu } = await import("../deployment/change.ts");
    repairKernels(host, mended);
    changeMenu(host, machine, plan);
  }
  tellRepair(mended, host.loader, report);
  const steps = menuSteps(plan);
  report.note(repair.menu || !leavesMenu(seen, plan) ? steps : []);
  const now = flags.dryRun ? machine : understand(observe(host, repository).seen);
  const found = now.deployments.find(({ id }) => id === first.id)!;
  report.say(
    flags.dryRun
      ? steps.map((step) => stepText(step, machine))
      : [`Next boot: ${deploymentText(now, found)}`],
  );
  return {
    deployments: concerned(open, found),
    rebootRequired: host.running === undefined ? null : first.id !== host.running.id,
    apply: true,
  };
}

/** What has this index, if the name is one. */
function indexed({ deployments }: Machine, name: string): Deployment | undefined {
  return deployments.find((_, index) => `${index}` === name);
}
