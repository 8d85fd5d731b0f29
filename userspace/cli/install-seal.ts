/** `cfsboot install seal` */
import type { Command } from "commander";
import { addExamples } from "./example.ts";
import { type MachineFlags, machineOptions, withMachine } from "./machine.ts";

export function registerSeal(install: Command): void {
  const command = install
    .command("seal")
    .description(
      "turn fs-verity on where a disk was made without; systemd does it at the first boot",
    )
    .action(seal);
  machineOptions(command);
  addExamples(command, "cfsboot install seal");
}

async function seal(flags: MachineFlags): Promise<void> {
  const { sealRepository } = await import("../repository/seal.ts");
  const { requireVerity } = await import("../install/seal.ts");
  const { observe } = await import("../deployment/observe.ts");
  const { objects, enabled } = await sealed(flags, (path) => sealRepository(path));
  await withMachine(flags, "change", ({ host, repository }) => {
    const ids = requireVerity(host, observe(host, repository).seen);
    const changed = ids.map((id) => id.slice(0, 12)).join(", ");
    process.stdout.write(
      `${objects} objects, ${enabled} of them sealed now; ` +
        `${changed === "" ? "no boot entry was changed" : `from the next boot on fs-verity is required: ${changed}`}\n`,
    );
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
