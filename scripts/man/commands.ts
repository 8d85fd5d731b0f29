/** The commands of a program that commander parses: as parts of its pages. */
import type { Argument, Command, Option } from "commander";
import { inline } from "./markdown.ts";
import { bold, italic, literal, macro, sentence, tagged, textLines } from "./roff.ts";

/** `cfsboot repo init` */
export function fullName(command: Command): string {
  const parent = command.parent;
  return parent === null ? command.name() : `${fullName(parent)} ${command.name()}`;
}

/** Its subcommands as help shows them, without `help`. */
export function subcommands(command: Command): Command[] {
  return command
    .createHelp()
    .visibleCommands(command)
    .filter((one) => one.name() !== "help");
}

/** The commands below it that do something; the command itself if it has none. */
export function leaves(command: Command): Command[] {
  const children = subcommands(command);
  return children.length === 0 ? [command] : children.flatMap(leaves);
}

/** Its options as help shows them, without `--help`. */
export function optionsOf(command: Command): Option[] {
  return command
    .createHelp()
    .visibleOptions(command)
    .filter((option) => option.long !== "--help");
}

/** The options that all of the commands have, with the same meaning. */
export function sharedOptions(commands: readonly Command[]): Option[] {
  const [first, ...others] = commands;
  if (first === undefined || others.length === 0) return [];
  return optionsOf(first).filter((option) =>
    others.every((other) => optionsOf(other).some((one) => sameOption(one, option))),
  );
}

export function sameOption(a: Option, b: Option): boolean {
  return a.flags === b.flags && a.description === b.description;
}

/** A command with its options and arguments, for SYNOPSIS. */
export function synopsis(command: Command): string[] {
  const options = optionsOf(command).map((option) => {
    const flags = option.flags.split(", ").at(-1)!;
    const words = option.mandatory ? flagWords(flags) : `[${flagWords(flags)}]`;
    // a synopsis breaks between options, not within
    return words.replaceAll(" ", "\\~");
  });
  const args = command.registeredArguments.map((argument) => {
    const name = `${italic(argument.name())}${argument.variadic ? "..." : ""}`;
    return argument.required ? name : `[${name}]`;
  });
  return [
    macro("SY", literal(fullName(command))),
    ...textLines([...options, ...args].join(" ")),
    ".YS",
  ];
}

export function argumentsToRoff(command: Command): string[] {
  return command.registeredArguments.flatMap((argument) =>
    tagged(italic(argument.name()), textLines(inline(sentence(meaning(argument))))),
  );
}

export function optionsToRoff(options: readonly Option[]): string[] {
  return options.flatMap((option) => {
    const flags = option.flags.split(", ").map(flagWords).join(", ");
    return tagged(flags, textLines(inline(sentence(meaning(option)))));
  });
}

/** The description with what else is known; that a flag is off by default needs no words. */
function meaning({ description, argChoices, defaultValue }: Option | Argument): string {
  const choices =
    argChoices === undefined ? "" : `: ${argChoices.map((one) => `\`${one}\``).join(", ")}`;
  const said = typeof defaultValue === "string" || typeof defaultValue === "number";
  const [what, otherDefault] = description.split(/(?= \(default)/);
  const preset = said ? ` (default: ${defaultValue})` : (otherDefault ?? "");
  return `${what}${choices}${preset}`;
}

/** `--hash <name>`: the option in bold, its value in italics. */
function flagWords(flags: string): string {
  return flags
    .split(/([<[][^>\]]*[>\]])/)
    .filter((part) => part !== "")
    .map((part) => {
      if (part.startsWith("<")) return italic(part.slice(1, -1));
      if (part.startsWith("[")) return `[${italic(part.slice(1, -1))}]`;
      const option = part.trimEnd();
      return `${bold(option)}${part.slice(option.length)}`;
    })
    .join("");
}
