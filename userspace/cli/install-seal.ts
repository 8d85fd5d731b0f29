/** `cfsboot install seal` */
import type { Command } from "commander";
import { addExamples } from "./example.ts";
import { type MachineFlags, machineOptions, withMachine } from "./machine.ts";
import { jsonOption, Report } from "./report.ts";

interface Flags extends MachineFlags {
  readonly json: boolean;
}

export function registerSeal(install: Command): void {
  const command = install
    .command("seal")
    .description(
      "turn fs-verity on where a disk was made without; systemd does it at the first boot",
    )
    .addOption(jsonOption())
    .action(seal);
  machineOptions(command);
  addExamples(command, "cfsboot install seal", "cfsboot install seal --json");
}

async function seal(flags: Flags): Promise<void> {
  const { sealRepository } = await import("../repository/seal.ts");
  const { requireVerity } = await import("../install/seal.ts");
  const { observe } = await import("../deployment/observe.ts");
  const { understand } = await import("../../src/model/deployments.ts");
  const { awaitsReboot, concerned } = await import("./concerned.ts");
  const { objects, enabled } = await sealed(flags, (path) => sealRepository(path));
  await withMachine(flags, "change", (open) => {
    const { host, repository } = open;
    const report = new Report({ json: flags.json, dryRun: false });
    const { seen } = observe(host, repository);
    const ids = requireVerity(host, seen);
    const changed = ids.map((id) => id.slice(0, 12)).join(", ");
    report.note(enabled === 0 ? [] : [{ do: "seal-objects", objects: enabled }]);
    report.note(ids.map((id) => ({ do: "require-verity", id })));
    report.say([
      `${objects} objects, ${enabled} of them sealed now; ` +
        `${changed === "" ? "no boot entry was changed" : `from the next boot on fs-verity is required: ${changed}`}`,
    ]);
    const machine = understand(seen);
    const waits = awaitsReboot(host, machine);
    return report.end({
      deployments: concerned(open, ...machine.deployments.filter(({ id }) => ids.includes(id))),
      rebootRequired: waits === null ? null : waits || ids.length > 0,
    });
  });
}

/** Nobody may have the repository open meanwhile, so the machine is opened for this alone. */
async function sealed<T>({ sysroot }: MachineFlags, act: (path: string) => T): Promise<T> {
  if (sysroot !== undefined) return act(`${sysroot}/composefs`);
  const { openHost } = await import("../deployment/open-host.ts");
  const { linux } = await import("../linux.ts");
  using open = openHost(linux, "write");
  return act(open.repositoryPath);
}
