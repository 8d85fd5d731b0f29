/** The manual pages, as they are built. */
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import { describe, expect, test } from "vitest";
import { fullName, leaves, optionsOf, subcommands } from "../../scripts/man/commands.ts";
import { parseDocument, toRoff } from "../../scripts/man/markdown.ts";
import { manualPages } from "../../scripts/man/pages.ts";
import { bold, literal } from "../../scripts/man/roff.ts";
import { parseUsage } from "../../scripts/man/usage.ts";
import { EROFS_WAYS, LAYER_WAYS, parseSetupRootConf } from "../../src/formats/setup-root-conf.ts";
import { addExamples, examplesOf } from "../../userspace/cli/example.ts";
import { loadProgram } from "../../userspace/cli/program.ts";

const DIRECTORY = join(import.meta.dirname, "../../dist/man");
const pages = new Map(
  readdirSync(DIRECTORY).map((name) => [name, readFileSync(join(DIRECTORY, name), "utf8")]),
);
const program = await loadProgram([]);

/** A page without its markup. */
function plain(page: string | undefined): string {
  return (page ?? "")
    .replaceAll(/\\f[BIR]|\\%/g, "")
    .replaceAll("\\-", "-")
    .replaceAll(/\s+/g, " ");
}

describe("pages as built", () => {
  test("what can be run has one, and so has the configuration", () => {
    expect([...pages.keys()]).toEqual(
      expect.arrayContaining([
        ...subcommands(program).map((noun) => `cfsboot-${noun.name()}.1`),
        "cfsboot.1",
        "composefs-setup-root.8",
        "setup-root-conf.toml.5",
      ]),
    );
  });

  test.each(subcommands(program).map((noun) => ({ name: noun.name(), noun })))(
    "cfsboot-$name has every command, option and example",
    ({ name, noun }) => {
      const page = pages.get(`cfsboot-${name}.1`) ?? "";
      for (const command of leaves(noun)) {
        expect(page).toContain(`.SY "${literal(fullName(command))}"\n`);
        for (const option of optionsOf(command)) expect(page).toContain(bold(option.long!));
        for (const example of examplesOf(command))
          expect(page).toContain(`\n${literal(example)}\n`);
      }
    },
  );

  test("other pages of ours that they name are there", () => {
    const ours = /(?:cfsboot[\w.-]*|composefs-setup-root|setup-root-conf\.toml)\(\d\)/g;
    const named = [...pages.values()].flatMap((page) => plain(page).match(ours) ?? []);
    const missing = named.filter((one) => !pages.has(one.replace("(", ".").replace(")", "")));
    expect({ some: named.length > 20, missing }).toEqual({ some: true, missing: [] });
  });

  test("setup-root-conf.toml has every key and word that the parser takes", () => {
    const page = pages.get("setup-root-conf.toml.5");
    const words = [...EROFS_WAYS, ...LAYER_WAYS, ...wordsOfMount()];
    expect(words).toContain("overlay");
    for (const word of ["mount", "transient", "erofs", "layers", ...words])
      expect(page).toContain(bold(word));
  });

  test.for([
    { linter: "mandoc", args: ["-T", "lint"] },
    { linter: "groff", args: ["-man", "-ww", "-z", "-Tutf8"] },
  ])("$linter finds nothing wrong with them", ({ linter, args }, ctx) => {
    const files = [...pages.keys()].map((name) => join(DIRECTORY, name));
    const results = files.map((file) => spawnSync(linter, [...args, file], { encoding: "utf8" }));
    if ((results[0]?.error as NodeJS.ErrnoException | undefined)?.code === "ENOENT")
      ctx.skip(`there is no ${linter} on this machine`);
    expect(results.map(({ stdout, stderr }) => stdout + stderr).join("")).toBe("");
  });
});

/** Those that the parser says it expects. */
function wordsOfMount(): string[] {
  try {
    parseSetupRootConf('[etc]\nmount = "?"\n', "conf");
  } catch (error) {
    return [...(error as Error).message.matchAll(/"(\w+)"/g)].map(([, word]) => word!);
  }
  return [];
}

describe("the generator", () => {
  const sources = (prose: Record<string, string>) => {
    const fresh = new Command("prog").description("Does it.").option("--loud", "say more");
    const noun = fresh.command("thing").description("things; all of them");
    addExamples(
      noun
        .command("make")
        .description("make a thing")
        .argument("<name...>", "what it's called")
        .option("-s, --size <n>", "in bytes", "5"),
      "prog thing make a",
    );
    return {
      program: fresh,
      version: "1.2",
      tools: [],
      programs: [],
      prose: new Map(Object.entries(prose)),
      read: () => "# Other\n\nintro\n\n## Part\n\nincluded\n",
    };
  };

  test("takes up what a new command says", () => {
    const page = manualPages(sources({})).get("prog-thing.1");
    expect(page).toContain(
      '.SH SYNOPSIS\n.SY "prog thing make"\n\\%[\\fB\\-\\-size\\fR\\~\\fIn\\fR] \\fIname\\fR...\n.YS\n',
    );
    expect(plain(page)).toContain("prog-thing - things .SH");
    expect(page).toContain("\\fB\\-s\\fR, \\fB\\-\\-size\\fR \\fIn\\fR\nIn bytes (default: 5).\n");
    expect(page).toContain("\\fIname\\fR\nWhat it\\[aq]s called.\n");
    expect(page).toContain("\\fB\\-\\-loud\\fR\nSay more.\n");
    expect(page).toContain("\nprog thing make a\n");
  });

  test("puts prose where it belongs", () => {
    const prose =
      "# t\n\nAbout.\n\n## Commands\n\n### make\n\nMore.\n\n## Files\n\n<!-- include o.md#Part -->\n";
    const page = plain(manualPages(sources({ "prog-thing.1": prose })).get("prog-thing.1"));
    expect(page).toContain(".SH DESCRIPTION About. .SH COMMANDS");
    expect(page).toContain("Make a thing. .PP More. .TP");
    expect(page).toContain(".SH FILES included .SH EXAMPLES");
  });

  test("refuses prose about what there is not", () => {
    const about = (text: string) => () => manualPages(sources({ "prog-thing.1": text }));
    expect(about("# t\n\n## Commands\n\n### brake\n\nIt.\n")).toThrow(
      "docs/man/prog-thing.1.md: there is no command brake",
    );
    expect(about("# t\n\n<!-- include o.md#Parts -->\n")).toThrow("docs/man/prog-thing.1.md");
    expect(() => manualPages(sources({ "alone.5": "# alone\n" }))).toThrow(
      'docs/man/alone.5.md: expected a first line "# NAME - what it is"',
    );
  });

  test("text is never taken for a request or an escape", () => {
    const markdown = "# t\n\n.so /etc/passwd\n\n```\n.nx\n'br \\n\n```\n\n- .x `a\\b-c` … 'q'\n";
    expect(toRoff(parseDocument(markdown, () => "").intro)).toEqual([
      ".PP",
      "\\&.so \\%/etc/passwd",
      ".PP",
      ".RS 4",
      ".EX",
      "\\&.nx",
      "\\[aq]br \\[rs]n",
      ".EE",
      ".RE",
      ".IP \\(bu 2",
      "\\&.x \\%\\fBa\\[rs]b\\-c\\fR \\[u2026] \\[aq]q\\[aq]",
    ]);
  });

  test("usage texts: synopsis, options over several lines, examples, paragraphs", () => {
    const usage =
      "usage: x [-a] FILE\n       x --version\n\nDoes it.\nReally.\n\nOptions:\n  -a, --all   take\n" +
      "              all\n  --version   tell\nExample:\n  x -a /\n\nAfter.\n";
    expect(parseUsage(usage, "x")).toEqual({
      synopses: ["[-a] FILE", "--version"],
      before: ["Does it. Really."],
      entries: [
        { term: "-a, --all", meaning: "take all" },
        { term: "--version", meaning: "tell" },
      ],
      examples: ["x -a /"],
      after: ["After."],
    });
  });
});
