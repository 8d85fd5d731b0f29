/** `cfsboot usr-overlay` */
import type { Command } from "commander";
import { addExamples } from "./example.ts";
import { dryRunOption } from "./machine.ts";
import { jsonOption, Report, type ReportFlags } from "./report.ts";

interface Flags extends ReportFlags {
  readonly readOnly: boolean;
}

export function register(program: Command): void {
  addExamples(
    program
      .command("usr-overlay")
      .alias("usroverlay")
      .description("make /usr writable until the next boot; nothing of it stays")
      .option("--read-only", "only in mount namespaces that make it so", false)
      .addOption(dryRunOption())
      .addOption(jsonOption())
      .action(usrOverlay),
    "cfsboot usr-overlay",
    "cfsboot usr-overlay --read-only --json",
  );
}

async function usrOverlay(flags: Flags): Promise<void> {
  const { readOnly, dryRun } = flags;
  const { linux } = await import("../linux.ts");
  const { requireRunning } = await import("../deployment/open-host.ts");
  const { mountUsrOverlay, requireNoOverlay } = await import("../deployment/usr-overlay.ts");
  const { HintedError } = await import("../../src/linux/hint.ts");
  const report = new Report(flags);
  requireRunning(linux);
  if (linux.geteuid() !== 0) throw new HintedError("only root may mount", "sudo cfsboot …");
  const overlay = `a ${readOnly ? "read-only" : "read/write"} overlayfs`;
  if (dryRun) requireNoOverlay(linux);
  else mountUsrOverlay(linux, readOnly);
  report.note([{ do: "mount-usr-overlay", accessMode: readOnly ? "readOnly" : "readWrite" }]);
  report.say(
    dryRun
      ? [`mount ${overlay} on /usr, until the next boot`]
      : [
          `A${overlay.slice(1)} is now mounted on /usr`,
          "All changes there will be discarded on reboot.",
        ],
  );
  return report.end({});
}
