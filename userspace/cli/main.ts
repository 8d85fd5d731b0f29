/**
 * The command line of `cfsboot`. Only the noun that is asked for is loaded. Threads that it starts run the same program.
 *
 * Exit status: 0 done, 1 failed, 2 wrong usage.
 */
import { isMainThread } from "node:worker_threads";
import { CommanderError } from "commander";
import { fromBootc } from "./bootc-commands.ts";
import { describeError, exitStatusOf, isInternal, UsageError } from "./errors.ts";
import { loadProgram } from "./program.ts";
import type { Tool } from "./tool.ts";
import { findTool } from "./tools.ts";

/** Killed by SIGPIPE, as shells say it. */
const EXIT_PIPE = 128 + 13;

/** Runs a command line and returns the exit status. `name` is the path that the program was started by. */
async function main(name: string | undefined, args: readonly string[]): Promise<number> {
  const found = await findTool(name, args);
  if (found !== undefined) return runTool(found.tool, found.args);
  try {
    const argv = fromBootc(args);
    const program = await loadProgram(argv);
    await program.parseAsync(argv, { from: "user" });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2; // it has printed
    return report(error);
  }
}

/** Another tool: wrong usage is an error like any other to those who run it. */
async function runTool(tool: Tool, args: readonly string[]): Promise<number> {
  if (args.includes("--help") || args.includes("-h")) {
    process.stdout.write(tool.usage);
    return 0;
  }
  try {
    await tool.run(args);
    return 0;
  } catch (error) {
    report(error, tool.name);
    if (error instanceof UsageError) process.stderr.write(tool.usage);
    return 1;
  }
}

/** Prints an error, once, and returns the exit status that it stands for. */
function report(error: unknown, prefix = "cfsboot: error"): number {
  const { message, hints, stacks } = describeError(error);
  const verbose = process.argv.includes("--verbose");
  const lines = [`${prefix}: ${message}`];
  for (const hint of hints) lines.push(`hint: ${hint}`);
  if (verbose) lines.push(...stacks);
  else if (isInternal(error)) lines.push("hint: this is a fault in cfsboot; --verbose shows where");
  process.stderr.write(`${lines.join("\n")}\n`);
  return error instanceof UsageError ? 2 : (exitStatusOf(error) ?? 1);
}

function exit(status: number): void {
  // what is still in the pipes goes out first; sockets that are kept alive do not hold us
  process.stdout.write("", () => {
    if (process.stdout.errored) outputFailed(process.stdout.errored);
    process.stderr.write("", () => process.exit(status));
  });
}

function outputFailed(error: NodeJS.ErrnoException): never {
  if (error.code === "EPIPE") process.exit(EXIT_PIPE); // the reader has seen enough
  process.exit(report(new Error("write to standard output", { cause: error })));
}

process.stdout.on("error", outputFailed);
process.stderr.on("error", () => {}); // nobody is left to be told
if (isMainThread) process.on("uncaughtException", (error) => exit(report(error)));

if (isMainThread) exit(await main(process.argv[1], process.argv.slice(2)));
else await import("../oci/layer-thread-main.ts");
