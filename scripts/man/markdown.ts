/** The prose of manual pages, and of other documents that they include: the little Markdown that it is written in. */
import { bold, example, italic, literal, prose, sentence, tagged, textLines } from "./roff.ts";

/** What is below a heading, up to the next one of its depth or higher. */
export interface Section {
  readonly title: string;
  /** Before the first subsection. */
  readonly lines: readonly string[];
  readonly subsections: readonly { readonly title: string; readonly lines: readonly string[] }[];
}

export interface Document {
  /** `name - one line about it` */
  readonly title: string;
  /** Between the title and the first section. */
  readonly intro: readonly string[];
  readonly sections: readonly Section[];
}

/** `<!-- include FILE#Section -->` stands for what is below that heading in another document, up to the next one. */
const INCLUDE = /^<!-- include (\S+)#(.+) -->$/;
const FENCE = /^```/;

/** Parses Markdown; `read` gives the text of an included document. */
export function parseDocument(text: string, read: (file: string) => string): Document {
  const intro: string[] = [];
  const sections: {
    title: string;
    lines: string[];
    subsections: Section["subsections"][number][];
  }[] = [];
  let title = "";
  let lines = intro;
  let fenced = false;
  for (const line of text.split("\n")) {
    if (FENCE.test(line)) fenced = !fenced;
    const heading = fenced ? null : /^(#{1,3}) (.+)$/.exec(line);
    const include = fenced ? null : INCLUDE.exec(line);
    if (heading?.[1] === "#") title = heading[2]!;
    else if (heading?.[1] === "##") {
      lines = [];
      sections.push({ title: heading[2]!, lines, subsections: [] });
    } else if (heading !== null) {
      const section = sections.at(-1);
      if (section === undefined) throw new Error(`"${line}": expected a section around it`);
      const subsection: string[] = [];
      section.subsections = [...section.subsections, { title: heading[2]!, lines: subsection }];
      lines = subsection;
    } else if (include !== null) {
      const [, file, wanted] = include;
      const other = parseDocument(read(file!), read);
      const section = other.sections.find((one) => one.title === wanted);
      const found = wanted === other.title ? other.intro : section?.lines;
      if (found === undefined) throw new Error(`${file}: no section "${wanted}"`);
      lines.push(...found);
    } else lines.push(line);
  }
  return { title, intro, sections };
}

/** Lines of Markdown as lines of a manual page. */
export function toRoff(lines: readonly string[]): string[] {
  const out: string[] = [];
  for (const block of blocks(lines)) {
    const first = block[0]!;
    if (FENCE.test(first)) out.push(...example(block.slice(1, -1)));
    else if (first.startsWith("|")) out.push(...tableToRoff(block));
    else if (first.startsWith("- ")) {
      for (const item of items(block)) out.push(".IP \\(bu 2", ...textLines(inline(item)));
    } else out.push(".PP", ...textLines(inline(block.join(" "))));
  }
  return out;
}

/** Markup within a line: code and options, emphasis, links, and other manual pages. */
export function inline(text: string): string {
  const token =
    /`([^`]+)`|\*\*(.+?)\*\*|\*(.+?)\*|\[([^\]]+)\]\([^)\s]+\)|(?<![\w-])(--[a-z][a-z-]*)|\b([a-z][\w.-]*)\((\d)\)/g;
  let out = "";
  let end = 0;
  for (const match of text.matchAll(token)) {
    const [all, code, strong, emphasis, link, option, page, section] = match;
    out += prose(text.slice(end, match.index));
    if (code !== undefined) out += bold(code);
    else if (strong !== undefined) out += bold(strong);
    else if (emphasis !== undefined) out += italic(emphasis);
    else if (link !== undefined) out += inline(link);
    else if (option !== undefined) out += bold(option);
    else out += `${bold(page!)}(${literal(section!)})`;
    end = match.index + all.length;
  }
  return out + prose(text.slice(end));
}

/** A table is a list of its first column; where there are more than two, the others' headers stand in it. */
function tableToRoff(block: readonly string[]): string[] {
  const [header, , ...rows] = block.map((line) =>
    line
      .replace(/^\|\s*|\s*\|$/g, "")
      .split("|")
      .map((cell) => cell.trim()),
  );
  const titles = header!.length > 2 ? header!.map(capitalized) : [];
  return rows.flatMap(([term, ...cells]) => {
    const lines = cells.flatMap((cell, i) => {
      const title = titles[i + 1];
      return cell === "" ? [] : [sentence(title === undefined ? cell : `${title}: ${cell}`)];
    });
    return tagged(inline(term!), joinLines(lines.map((line) => textLines(inline(line)))));
  });
}

function capitalized(text: string): string {
  return text.replace(/^[a-z]/, (first) => first.toUpperCase());
}

/** Paragraphs, each on a line of its own. */
function joinLines(paragraphs: readonly string[][]): string[] {
  return paragraphs.flatMap((lines, i) => (i === 0 ? lines : [".br", ...lines]));
}

function items(block: readonly string[]): string[] {
  const out: string[] = [];
  for (const line of block) {
    if (line.startsWith("- ")) out.push(line.slice(2));
    else out.push(`${out.pop()} ${line.trim()}`);
  }
  return out;
}

/** Groups of lines between empty ones; a fenced block is one group. */
function blocks(lines: readonly string[]): string[][] {
  const out: string[][] = [];
  let block: string[] = [];
  let fenced = false;
  const end = () => {
    if (block.length > 0) out.push(block);
    block = [];
  };
  for (const line of lines) {
    if (FENCE.test(line)) {
      if (!fenced) end();
      block.push(line);
      fenced = !fenced;
      if (!fenced) end();
    } else if (line.trim() === "" && !fenced) end();
    else block.push(line);
  }
  end();
  return out;
}
