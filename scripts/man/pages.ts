/**
 * The manual pages: what `--help` says, and the prose of docs/man/NAME.SECTION.md around it. A section of the prose
 * comes behind what is generated for it; `### VERB` below `## Commands` is about that verb.
 */
import type { Command } from "commander";
import { examplesOf } from "../../userspace/cli/example.ts";
import {
  argumentsToRoff,
  fullName,
  leaves,
  optionsOf,
  optionsToRoff,
  sameOption,
  sharedOptions,
  subcommands,
  synopsis,
} from "./commands.ts";
import { type Document, inline, parseDocument, type Section, toRoff } from "./markdown.ts";
import { bold, example, literal, macro, prose, sentence, tagged, textLines } from "./roff.ts";
import { entriesToRoff, parseUsage, usageWords } from "./usage.ts";

/** The day of the last release or the last change that readers should know of; not of the build, which is reproducible. */
const DATE = "2026-11-21";

export interface Sources {
  /** With all commands. */
  readonly program: Command;
  readonly version: string;
  /** Commands of the program that are programs of their own, too. */
  readonly tools: readonly Tool[];
  readonly programs: readonly Tool[];
  /** The Markdown of docs/man, by `NAME.SECTION`. */
  readonly prose: ReadonlyMap<string, string>;
  /** Reads a document that prose includes; the path is relative to docs/man. */
  read(file: string): string;
}

/** A program that only has a usage text, and its page. */
interface Tool {
  readonly page: string;
  readonly section: string;
  /** What it is called by; the last one is its name in the usage text. */
  readonly calls: readonly string[];
  readonly usage: string;
}

/** Lines of a page by the titles of its sections. */
type Sections = Map<string, string[]>;

interface Page {
  readonly name: string;
  readonly section: string;
  /** One line: what it is. */
  readonly what: string;
  readonly sections: Sections;
}

/** Around those that only some pages have. */
const FIRST = ["NAME", "SYNOPSIS", "DESCRIPTION", "COMMANDS", "ARGUMENTS", "OPTIONS"];
const LAST = ["EXIT STATUS", "ENVIRONMENT", "FILES", "EXAMPLES", "SEE ALSO"];
const REFERENCE = /\b([a-z][\w.-]*)\((\d)\)/g;

/** All pages, by their file names: `cfsboot-repo.1`. */
export function manualPages(sources: Sources): Map<string, string> {
  const documents = new Map(
    [...sources.prose].map(([name, text]) => [name, parse(name, text, sources)] as const),
  );
  const main = documents.get("cfsboot.1");
  const exitStatus = main?.sections.find(({ title }) => title === "Exit status");
  const { program } = sources;
  const tools = sources.tools.map((one) => toolPage(one, documents));
  const pages = [
    programPage(program, tools, documents),
    ...subcommands(program).map((noun) => nounPage(program, noun, documents, exitStatus)),
    ...tools,
    ...sources.programs.map((one) => toolPage(one, documents)),
  ];
  const known = new Set(pages.map(fileName));
  for (const [name, document] of documents)
    if (!known.has(name)) pages.push(proseOnlyPage(name, document));
  addReferences(
    pages[0]!,
    pages.slice(1).map(({ name, section }) => `${name}(${section})`),
  );
  return new Map(pages.map((page) => [fileName(page), render(page, sources.version)]));
}

function parse(name: string, text: string, { read }: Sources): Document {
  try {
    return parseDocument(text, read);
  } catch (error) {
    throw new Error(`docs/man/${name}.md`, { cause: error });
  }
}

function programPage(
  program: Command,
  tools: readonly Page[],
  documents: ReadonlyMap<string, Document>,
): Page {
  const sections: Sections = new Map([
    [
      "SYNOPSIS",
      [macro("SY", "cfsboot"), `\\fICOMMAND\\fR [\\fIOPTION\\fR]... [\\fIARGUMENT\\fR]...`, ".YS"],
    ],
    ["COMMANDS", [...subcommands(program).flatMap(nounEntry), ...tools.flatMap(toolEntry)]],
    ["OPTIONS", optionsToRoff(program.createHelp().visibleOptions(program))],
  ]);
  const what = sentenceToPhrase(program.description());
  const page = { name: program.name(), section: "1", what, sections };
  addProse(page, documents.get(fileName(page)));
  return page;
}

/** What a noun is about, its verbs, and where there is more. */
function nounEntry(noun: Command): string[] {
  const verbs = subcommands(noun).map((verb) => bold(verb.name()));
  const more = `${bold(pageName(noun))}(1)`;
  const what = `${inline(sentence(topic(noun)).slice(0, -1))}${verbs.length === 0 ? "" : `: ${verbs.join(", ")}`}`;
  return tagged(bold(fullName(noun)), textLines(`${what}. See ${more}.`));
}

function toolEntry({ name, section, what }: Page): string[] {
  const text = `${inline(sentence(what))} See ${bold(name)}(${section}).`;
  return tagged(bold(name.replace("-", " ")), textLines(text));
}

function nounPage(
  program: Command,
  noun: Command,
  documents: ReadonlyMap<string, Document>,
  exitStatus: Section | undefined,
): Page {
  const commands = leaves(noun);
  const shared = sharedOptions(commands);
  const everywhere = program
    .createHelp()
    .visibleOptions(program)
    .filter((option) => option.long !== "--version");
  const sections: Sections = new Map([["SYNOPSIS", commands.flatMap(synopsis)]]);
  const page = { name: pageName(noun), section: "1", what: topic(noun), sections };
  const document = documents.get(fileName(page));
  const [only] = commands;
  if (only === noun) {
    add(sections, "ARGUMENTS", argumentsToRoff(noun));
    add(sections, "OPTIONS", optionsToRoff(optionsOf(noun)));
  } else {
    const about = document?.sections.find(({ title }) => title === "Commands")?.subsections ?? [];
    for (const { title } of about)
      if (!commands.some((command) => verbOf(noun, command) === title))
        throw new Error(`docs/man/${fileName(page)}.md: there is no command ${title}`);
    for (const command of commands) {
      const text = about.find(({ title }) => title === verbOf(noun, command))?.lines ?? [];
      add(sections, "COMMANDS", commandToRoff(command, shared, text));
    }
    add(sections, "OPTIONS", optionsToRoff(shared));
  }
  add(sections, "OPTIONS", optionsToRoff(everywhere));
  add(sections, "EXAMPLES", example(commands.flatMap(examplesOf)));
  addProse(page, document);
  if (!sections.has("EXIT STATUS")) add(sections, "EXIT STATUS", toRoff(exitStatus?.lines ?? []));
  addReferences(page, ["cfsboot(1)"]);
  return page;
}

function commandToRoff(
  command: Command,
  shared: ReturnType<typeof sharedOptions>,
  text: readonly string[],
): string[] {
  const own = optionsOf(command).filter((option) => !shared.some((one) => sameOption(one, option)));
  return [
    macro("SS", literal(fullName(command))),
    ...textLines(inline(sentence(command.description()))),
    ...toRoff(text),
    ...argumentsToRoff(command),
    ...optionsToRoff(own),
  ];
}

function toolPage(
  { page: name, section, calls, usage }: Tool,
  documents: ReadonlyMap<string, Document>,
): Page {
  const { synopses, before, entries, examples, after } = parseUsage(usage, calls.at(-1)!);
  const sections: Sections = new Map();
  for (const call of calls)
    for (const words of synopses)
      add(sections, "SYNOPSIS", [
        macro("SY", literal(call)),
        ...textLines(usageWords(words)),
        ".YS",
      ]);
  const paragraphs = (all: readonly string[]) =>
    all.flatMap((one) => [".PP", ...textLines(inline(one))]);
  add(sections, "DESCRIPTION", paragraphs(before));
  add(sections, "OPTIONS", [...entriesToRoff(entries), ...paragraphs(after)]);
  if (examples.length > 0) add(sections, "EXAMPLES", example(examples));
  const file = `${name}.${section}`;
  const document = documents.get(file);
  const page = { name, section, what: phraseOf(file, document), sections };
  addProse(page, document);
  addReferences(page, ["cfsboot(1)"]);
  return page;
}

function proseOnlyPage(file: string, document: Document): Page {
  const dot = file.lastIndexOf(".");
  const page = {
    name: file.slice(0, dot),
    section: file.slice(dot + 1),
    what: phraseOf(file, document),
    sections: new Map(),
  };
  addProse(page, document);
  return page;
}

function addProse({ what, sections }: Page, document: Document | undefined): void {
  add(sections, "DESCRIPTION", toRoff(document?.intro ?? []));
  if (!sections.has("DESCRIPTION")) add(sections, "DESCRIPTION", textLines(inline(sentence(what))));
  for (const { title, lines, subsections } of document?.sections ?? []) {
    const commands = title === "Commands";
    const rest = commands ? [] : subsections;
    add(sections, title.toUpperCase(), [
      ...toRoff(lines),
      ...rest.flatMap((one) => headed("SS", prose(one.title), toRoff(one.lines))),
    ]);
  }
}

/** Adds pages to those that SEE ALSO names, and puts them all in order. */
function addReferences({ name, section, sections }: Page, references: readonly string[]): void {
  const text = (sections.get("SEE ALSO") ?? []).join(" ").replaceAll(/\\f[BIR]/g, "");
  const own = `${name}(${section})`;
  const all = new Set([...text.replaceAll("\\-", "-").matchAll(REFERENCE)].map(([one]) => one));
  for (const one of references) all.add(one);
  all.delete(own);
  const key = (reference: string) => reference.replace(/^(.*)\((\d)\)$/, "$2 $1");
  const sorted = [...all].sort((a, b) => (key(a) < key(b) ? -1 : 1));
  sections.set("SEE ALSO", textLines(sorted.map(inline).join(", ")));
}

function add(sections: Sections, title: string, lines: readonly string[]): void {
  if (lines.length > 0) sections.set(title, [...(sections.get(title) ?? []), ...lines]);
}

function render({ name, section, what, sections }: Page, version: string): string {
  const titles = [...sections.keys()].filter((one) => !FIRST.includes(one) && !LAST.includes(one));
  const body = [...FIRST, ...titles, ...LAST].flatMap((title) => {
    const nameLines = textLines(`${literal(name)} \\- ${inline(what)}`);
    const lines = title === "NAME" ? nameLines : sections.get(title);
    return lines === undefined ? [] : headed("SH", title, lines);
  });
  const head = macro(
    "TH",
    literal(name.toUpperCase()),
    section,
    DATE,
    `cfsboot ${version}`,
    "cfsboot",
  );
  return `${[head, ...body].join("\n")}\n`;
}

/** A heading, which is followed by a paragraph as it is. */
function headed(name: "SH" | "SS", title: string, lines: readonly string[]): string[] {
  return [macro(name, title), ...(lines[0] === ".PP" ? lines.slice(1) : lines)];
}

function fileName({ name, section }: { readonly name: string; readonly section: string }): string {
  return `${name}.${section}`;
}

/** What a command is about, without what else its description says. */
function topic(command: Command): string {
  return command.description().split("; ")[0]!;
}

function pageName(command: Command): string {
  return fullName(command).replaceAll(" ", "-");
}

/** `init` of `cfsboot repo init` */
function verbOf(noun: Command, command: Command): string {
  return fullName(command).slice(fullName(noun).length + 1);
}

/** Behind the ` - ` of a document's title. */
function phraseOf(file: string, document: Document | undefined): string {
  const [, phrase] = / - (.+)$/.exec(document?.title ?? "") ?? [];
  if (phrase === undefined)
    throw new Error(`docs/man/${file}.md: expected a first line "# NAME - what it is"`);
  return phrase;
}

function sentenceToPhrase(sentence: string): string {
  return sentence.replace(/\.$/, "").replace(/^[A-Z]/, (first) => first.toLowerCase());
}
