/** `cfsboot status` */
import { type Command, InvalidArgumentError, Option } from "commander";
import type { HostStatus } from "../../src/model/host-status.ts";
import { describeError, isForbidden } from "./errors.ts";
import { addExamples } from "./example.ts";
import { type MachineFlags, machineOptions, withMachine } from "./machine.ts";

const FORMATS = ["humanreadable", "yaml", "json"] as const;
type Format = (typeof FORMATS)[number];

interface Flags extends MachineFlags {
  readonly json: boolean;
  readonly format?: Format;
  readonly formatVersion: number;
  readonly booted: boolean;
}

export function register(program: Command): void {
  const command = program
    .command("status")
    .description("tell which deployments there are: what runs, what is booted next, what is wrong")
    .addOption(new Option("--json", "print JSON").default(false).conflicts("format"))
    .addOption(
      new Option(
        "--format <format>",
        "how to print it (default: humanreadable on a terminal, else yaml)",
      ).choices(FORMATS),
    )
    .option("--format-version <number>", "version of yaml and json", parseVersion, 1)
    .option("--booted", "only what runs", false)
    .option("-v, --verbose", "for people: also what is seldom asked for")
    .action(status);
  machineOptions(command);
  addExamples(command, "cfsboot status", "cfsboot status --json");
}

function parseVersion(text: string): number {
  if (text !== "0" && text !== "1") throw new InvalidArgumentError("there is only version 1.");
  return Number(text);
}

async function status(flags: Flags, command: Command): Promise<void> {
  const { onlyBooted } = await import("../../src/model/host-status.ts");
  const all = await lookAt(flags);
  const host = flags.booted ? onlyBooted(all) : all;
  // the long form is the program's own, which takes it before the command does
  const verbose = command.optsWithGlobals().verbose === true;
  const byDefault = flags.json ? "json" : process.stdout.isTTY ? "humanreadable" : "yaml";
  process.stdout.write(await print(host, flags.format ?? byDefault, verbose));
}

/** Looks at a machine; of one that was not booted by composefs there is nothing to tell. */
async function lookAt(flags: MachineFlags): Promise<HostStatus> {
  const { hostFacts } = await import("../deployment/status.ts");
  const { hostStatus, runningHostStatus, unknownHostStatus } = await import(
    "../../src/model/host-status.ts"
  );
  const { readUsrOverlay } = await import("../deployment/usr-overlay.ts");
  const { NotDeployedError, readRunningState, requireRunning } = await import(
    "../deployment/open-host.ts"
  );
  try {
    return await withMachine(flags, "look", ({ host, repository, live, readOnly }) => {
      const usrOverlay = live ? readUsrOverlay(host.linux) : undefined;
      const status = hostStatus(hostFacts(host, repository, { usrOverlay, readOnly }));
      if (host.running === undefined || status.status.booted !== null) return status;
      const { booted } = runningHostStatus(host.running, []).status;
      return { ...status, status: { ...status.status, booted } };
    });
  } catch (error) {
    if (error instanceof NotDeployedError) return unknownHostStatus([error.message]);
    if (flags.sysroot !== undefined || !isForbidden(error)) throw error;
    const { linux } = await import("../linux.ts");
    const { currentPlatform } = await import("../oci/platform.ts");
    const { running } = requireRunning(linux);
    const why = `only root can see the rest: ${describeError(firstCause(error)).message}`;
    const { architecture } = currentPlatform();
    const facts = { version: undefined, created: undefined, architecture };
    return runningHostStatus(running, [why], readRunningState(linux, running.id), facts);
  }
}

function firstCause(error: unknown): unknown {
  return error instanceof Error && error.cause !== undefined ? firstCause(error.cause) : error;
}

async function print(host: HostStatus, format: Format, verbose: boolean): Promise<string> {
  switch (format) {
    case "json":
      return `${JSON.stringify(sorted(host))}\n`;
    case "yaml": {
      const { stringify } = await import("yaml");
      return stringify(host, { indentSeq: false, lineWidth: 0, aliasDuplicateObjects: false });
    }
    case "humanreadable": {
      const { statusText } = await import("../../src/model/host-status-text.ts");
      return statusText(host, verbose);
    }
  }
}

/** With sorted keys, as canonical JSON has them. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, inner]) => [key, sorted(inner)]));
}
