/** `cfsboot usr-overlay` */
import type { Command } from "commander";
import { addExamples } from "./example.ts";
import { dryRunOption } from "./machine.ts";

interface Flags {
  readonly readOnly: boolean;
  readonly dryRun: boolean;
}

export function register(program: Command): void {
  addExamples(
    program
      .command("usr-overlay")
      .alias("usroverlay")
      .description("make /usr writable until the next boot; nothing of it stays")
      .option("--read-only", "only in mount namespaces that make it so", false)
      .addOption(dryRunOption())
      .action(usrOverlay),
    "cfsboot usr-overlay",
    "cfsboot usr-overlay --read-only",
  );
}

async function usrOverlay({ readOnly, dryRun }: Flags): Promise<void> {
  const { linux } = await import("../linux.ts");
  const { requireRunning } = await import("../deployment/open-host.ts");
  const { mountUsrOverlay, requireNoOverlay } = await import("../deployment/usr-overlay.ts");
  const { HintedError } = await import("../../src/linux/hint.ts");
  requireRunning(linux);
  if (linux.geteuid() !== 0) throw new HintedError("only root may mount", "sudo cfsboot …");
  const overlay = `a ${readOnly ? "read-only" : "read/write"} overlayfs`;
  if (dryRun) {
    requireNoOverlay(linux);
    process.stdout.write(`mount ${overlay} on /usr, until the next boot\n`);
    return;
  }
  mountUsrOverlay(linux, readOnly);
  process.stdout.write(
    `A${overlay.slice(1)} is now mounted on /usr\nAll changes there will be discarded on reboot.\n`,
  );
}
