/** `cfsboot edit` */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Command } from "commander";
import type { Deployment, Machine } from "../../src/model/deployments.ts";
import type { HostSpec } from "../../src/model/host-spec.ts";
import type { HostStatus } from "../../src/model/host-status.ts";
import { addExamples } from "./example.ts";
import { inputName, readInput } from "./files.ts";
import { type OpenMachine, rebootAfter, withMachine } from "./machine.ts";
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
  requireApplicable(flags);
  const apply = rebootAfter(flags);
  if (flags.filename !== undefined) {
    const wished = await fromFile(flags.filename);
    return carryOut(wished, undefined, flags, apply);
  }
  const { specOf } = await import("../../src/model/host-spec.ts");
  const shown = await withMachine(flags, purposeOf(flags), statusOf);
  // an editor may be open for hours: until it is left, nobody waits for the deployments
  await inEditor(shown, flags, (wished) => carryOut(wished, specOf(shown), flags, apply));
}

function purposeOf({ dryRun }: Flags): "look" | "change" {
  return dryRun ? "look" : "change";
}

async function statusOf({ host, repository, readOnly }: OpenMachine): Promise<HostStatus> {
  const { hostStatus } = await import("../../src/model/host-status.ts");
  const { hostFacts } = await import("../deployment/status.ts");
  return hostStatus(hostFacts(host, repository, { usrOverlay: undefined, readOnly }));
}

/** Does what is wished. `shown` is what that was made of, if somebody was shown it: if it is no longer so, nothing is done. */
async function carryOut(
  wished: HostSpec,
  shown: HostSpec | undefined,
  flags: Flags,
  apply: () => Promise<void>,
): Promise<void> {
  const { changeOfSpec, requireUnchanged, specOf } = await import("../../src/model/host-spec.ts");
  const { decideSwitch } = await import("../../src/model/upgrade-decision.ts");
  const { follow } = await import("./staging.ts");
  const { mend } = await import("./mend.ts");
  const { rollBack } = await import("./rollback.ts");
  const report = new Report(flags);
  await withMachine(flags, purposeOf(flags), async (open) => {
    const is = specOf(await statusOf(open));
    const change = changeOfSpec(shown ?? is, wished);
    if (shown !== undefined && change.do !== "nothing") requireUnchanged(shown, is);
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
  const bytes = await readInput(path);
  try {
    return await parse(bytes);
  } catch (error) {
    throw new Error(inputName(path), { cause: error });
  }
}

async function parse(bytes: Uint8Array): Promise<HostSpec> {
  const { parseSpec } = await import("../../src/model/host-spec.ts");
  const yaml = await import("yaml");
  return parseSpec(yaml.parse(Buffer.from(bytes).toString("utf8")));
}

/**
 * Shows the document in the editor of the one who runs this, and calls `use` with what it is when that is left. If that fails,
 * the document stays in its file, which the error names.
 */
async function inEditor(
  { apiVersion, kind, metadata, spec }: HostStatus,
  { json }: Flags,
  use: (wished: HostSpec) => Promise<void>,
): Promise<void> {
  const { stringify } = await import("yaml");
  const { HintedError } = await import("../../src/linux/hint.ts");
  const directory = mkdtempSync(join(tmpdir(), "cfsboot-edit-"));
  const path = join(directory, "host.yaml");
  const text = stringify({ apiVersion, kind, metadata, spec });
  writeFileSync(path, text);
  const editor = process.env.VISUAL || process.env.EDITOR || "vi";
  const run = spawnSync("sh", ["-c", `${editor} "$1"`, "sh", path], {
    // standard output is that of the object
    stdio: ["inherit", json ? 2 : "inherit", "inherit"],
  });
  try {
    if (run.error !== undefined || run.status !== 0) {
      throw new Error(`${editor} has failed: nothing is changed`, { cause: run.error });
    }
    await use(await parse(readFileSync(path)));
  } catch (error) {
    if (!isUntouched(path, text)) {
      const hint = `cfsboot edit --filename ${path} takes it again`;
      throw new HintedError(`what was edited is kept in ${path}`, hint, { cause: error });
    }
    rmSync(directory, { recursive: true });
    throw error;
  }
  rmSync(directory, { recursive: true });
}

function isUntouched(path: string, text: string): boolean {
  try {
    return readFileSync(path, "utf8") === text;
  } catch {
    return true; // the editor has removed it
  }
}
