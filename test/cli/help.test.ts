/** What every command must have: it is its help, and its manual page. */
import type { Command } from "commander";
import { describe, expect, test } from "vitest";
import { fullName, leaves, optionsOf, subcommands } from "../../scripts/man/commands.ts";
import { examplesOf } from "../../userspace/cli/example.ts";
import { loadProgram } from "../../userspace/cli/program.ts";
import { loadTools } from "../../userspace/cli/tools.ts";

const program = await loadProgram([]);
const nouns = subcommands(program).map((noun) => ({ name: fullName(noun), noun }));
const commands = leaves(program).map((command) => ({ name: fullName(command), command }));

test.each(nouns)("$name has a description", ({ noun }) => {
  expect(noun.description()).not.toBe("");
});

describe.each(commands)("$name", ({ name, command }) => {
  test("has a description, and so has all that it takes", () => {
    const silent = [...optionsOf(command), ...command.registeredArguments]
      .filter(({ description }) => description === "")
      .map((one) => one.name());
    expect({ description: command.description(), silent }).toEqual({
      description: expect.stringMatching(/./),
      silent: [],
    });
  });

  test("has an example in its help, which the parser takes", async () => {
    const examples = examplesOf(command);
    expect(examples).not.toEqual([]);
    for (const example of examples) {
      expect(example).toMatch(new RegExp(`^${name} `.replace(/ $/, "( |$)")));
      expect(helpOf(command)).toContain(`\n  ${example}\n`);
      expect(await parse(example)).toBe(name);
    }
  });
});

test.each((await loadTools()).map((tool) => ({ name: tool.name, tool })))(
  "$name says how it is used",
  ({ name, tool }) => {
    expect(tool.usage.toLowerCase()).toContain(`usage: ${name} `);
    expect(tool.usage).toMatch(/\n$/);
  },
);

function helpOf(command: Command): string {
  let help = "";
  command.configureOutput({
    writeOut: (text) => {
      help += text;
    },
  });
  command.outputHelp();
  return help;
}

/** The command that a line would run; throws where it is not understood. */
async function parse(line: string): Promise<string | undefined> {
  const fresh = await loadProgram([]);
  let run: string | undefined;
  for (const command of leaves(fresh)) {
    command.action(() => {
      run = fullName(command);
    });
  }
  const [words] = line.split(" | ");
  await fresh.parseAsync(words!.split(" ").slice(1), { from: "user" });
  return run;
}
