/** `cfsboot edit` */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Command } from "commander";
import type { Deployment, Machine } from "../../src/model/deployments.ts";
import type { HostSpec } from "../../src/model/host-spec.ts";
import type { HostStatus } from "../../src/model/host-status.ts";
import { addExamples } from "./example.ts";
import { inputName, readInput } from "./files.ts";
import { withMachine } from "./machine.ts";
import { Report } from "./report.ts";
import { requireApplicable, type StagingFlags, stagingOptions } from "./staging-options.ts";

interface Flags extends StagingFlags {
  readonly filename?: string;
}

export function register(program: Command): void {
  const command = program
    .command("edit")
    .description("change in an editor which image is followed, or which deployment is booted next")
    .option(
      "-f, --filename <file>",
      "take the document from this file instead; - is standard input",
    )
    .action(edit);
  stagingOptions(command);
  addExamples(command, "cfsboot edit", "cfsboot edit --filename host.yaml --json");
}

async function edit(flags: Flags): Promise<void> {
  const { changeOfSpec, specOf } = await import("../../src/model/host-spec.ts");
  const { hostStatus } = await import("../../src/model/host-status.ts");
  const { decideSwitch } = await import("../../src/model/upgrade-decision.ts");
  const { hostFacts } = await import("../deployment/status.ts");
  const { follow } = await import("./staging.ts");
  const { mend } = await import("./mend.ts");
  const { rollBack } = await import("./rollback.ts");
  const { rebootAfter } = await import("./machine.ts");
  requireApplicable(flags);
  const apply = rebootAfter(flags);
  const report = new Report(flags);
  await withMachine(flags, flags.dryRun ? "look" : "change", async (open) => {
    const { host, repository, readOnly } = open;
    const status = hostStatus(hostFacts(host, repository, { usrOverlay: undefined, readOnly }));
    const wished =
      flags.filename === undefined ? await inEditor(status, flags) : await fromFile(flags.filename);
    const change = changeOfSpec(specOf(status), wished);
    const back = { ...flags, discardStaged: false, force: false };
    switch (change.do) {
      case "nothing":
        report.say(["Edit cancelled, no changes made."]);
        return report.end({});
      case "rollback":
        return report.end(await rollBack(open, undefined, back, report), apply);
      case "switch": {
        const { image } = change;
        const { downloadOnly } = flags;
        const wish = {
          source: image,
          follow: image,
          decide: (now: Machine, twin: Deployment | undefined) =>
            decideSwitch(now, twin, { inPlace: false, downloadOnly }),
        };
        const machine = mend(open, flags.dryRun ? "tell" : "write", report);
        return report.end(await follow(open, machine, wish, flags, report), apply);
      }
    }
  });
}

async function fromFile(path: string): Promise<HostSpec> {
  const { parseSpec } = await import("../../src/model/host-spec.ts");
  const yaml = await import("yaml");
  const text = Buffer.from(await readInput(path)).toString("utf8");
  try {
    return parseSpec(yaml.parse(text));
  } catch (error) {
    throw new Error(inputName(path), { cause: error });
  }
}

/**
 * Shows the document in the editor of the one who runs this, and reads it when that is left. What cannot be read stays in
 * its file, which the error names.
 */
async function inEditor(
  { apiVersion, kind, metadata, spec }: HostStatus,
  { json }: Flags,
): Promise<HostSpec> {
  const { stringify } = await import("yaml");
  const directory = mkdtempSync(join(tmpdir(), "cfsboot-edit-"));
  const path = join(directory, "host.yaml");
  writeFileSync(path, stringify({ apiVersion, kind, metadata, spec }));
  const editor = process.env.VISUAL || process.env.EDITOR || "vi";
  const run = spawnSync("sh", ["-c", `${editor} "$1"`, "sh", path], {
    // standard output is that of the object
    stdio: ["inherit", json ? 2 : "inherit", "inherit"],
  });
  if (run.error !== undefined || run.status !== 0) {
    rmSync(directory, { recursive: true });
    throw new Error(`${editor} has failed: nothing is changed`, { cause: run.error });
  }
  const edited = await fromFile(path);
  rmSync(directory, { recursive: true });
  return edited;
}
