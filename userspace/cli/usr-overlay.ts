/** `cfsboot usr-overlay` */
import type { Command } from "commander";
import { addExamples } from "./example.ts";

interface Flags {
  readonly readOnly: boolean;
}

export function register(program: Command): void {
  addExamples(
    program
      .command("usr-overlay")
      .alias("usroverlay")
      .description("make /usr writable until the next boot; nothing of it stays")
      .option("--read-only", "only in mount namespaces that make it so", false)
      .action(usrOverlay),
    "cfsboot usr-overlay",
    "cfsboot usr-overlay --read-only",
  );
}

async function usrOverlay({ readOnly }: Flags): Promise<void> {
  const { linux } = await import("../linux.ts");
  const { requireRunning } = await import("../deployment/open-host.ts");
  const { mountUsrOverlay } = await import("../deployment/usr-overlay.ts");
  const { HintedError } = await import("../../src/linux/hint.ts");
  requireRunning(linux);
  if (linux.geteuid() !== 0) throw new HintedError("only root may mount", "sudo cfsboot …");
  mountUsrOverlay(linux, readOnly);
  process.stdout.write(
    `A ${readOnly ? "read-only" : "read/write"} overlayfs is now mounted on /usr\n` +
      "All changes there will be discarded on reboot.\n",
  );
}
