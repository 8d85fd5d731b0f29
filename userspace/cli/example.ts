import type { Command } from "commander";

const EXAMPLES = new WeakMap<Command, readonly string[]>();

/** Ends the help of a command with examples, one line each. */
export function addExamples(command: Command, ...lines: string[]): Command {
  EXAMPLES.set(command, lines);
  const title = lines.length === 1 ? "Example:" : "Examples:";
  return command.addHelpText("after", `\n${title}\n${lines.map((line) => `  ${line}`).join("\n")}`);
}

/** The examples of a command. */
export function examplesOf(command: Command): readonly string[] {
  return EXAMPLES.get(command) ?? [];
}
