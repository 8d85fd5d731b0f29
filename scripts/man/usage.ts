/** What a program's own `--help` says that is written by hand: as sections of its page. */

import { inline } from "./markdown.ts";
import { bold, italic, literal, sentence, tagged, textLines } from "./roff.ts";

export interface Usage {
  /** What follows the program's name in each way to call it. */
  readonly synopses: readonly string[];
  /** Paragraphs before the options, and after them. */
  readonly before: readonly string[];
  readonly after: readonly string[];
  /** Terms and what they mean: options, and commands where the program has them. */
  readonly entries: readonly { readonly term: string; readonly meaning: string }[];
  /** Indented lines that are neither. */
  readonly examples: readonly string[];
}

/**
 * Parses a usage text: `usage: PROGRAM …` first, which may go on in indented lines; paragraphs; lines that begin with
 * two spaces and an option, its meaning behind two or more spaces or in the next lines, indented further.
 */
export function parseUsage(text: string, program: string): Usage {
  const synopses: string[] = [];
  const before: string[] = [];
  const after: string[] = [];
  const entries: { term: string; meaning: string }[] = [];
  let paragraph: string[] = [];
  const end = () => {
    if (paragraph.length > 0) (entries.length > 0 ? after : before).push(paragraph.join(" "));
    paragraph = [];
  };
  let inUsage = false;
  for (const line of text.split("\n")) {
    const usage = /^usage:\s*(.*)$/i.exec(line);
    const entry = /^ {1,6}(\S.*?)(?: {2,}(\S.*))?$/.exec(line);
    const more = /^ {7,}(\S.*)$/.exec(line);
    if (usage !== null || (inUsage && line.startsWith(" "))) {
      const words = (usage?.[1] ?? line).trim();
      synopses.push(words.startsWith(`${program} `) ? words.slice(program.length + 1) : words);
      inUsage = true;
      continue;
    }
    inUsage = false;
    if (entry !== null) {
      end();
      entries.push({ term: entry[1]!, meaning: entry[2] ?? "" });
    } else if (more !== null && entries.length > 0) {
      const last = entries.pop()!;
      entries.push({ ...last, meaning: `${last.meaning} ${more[1]}`.trim() });
    } else if (line.trim() === "" || /^\S.*:$/.test(line)) end();
    else paragraph.push(line.trim());
  }
  end();
  const examples = entries.filter(({ meaning }) => meaning === "").map(({ term }) => term);
  return {
    synopses,
    before,
    after,
    entries: entries.filter(({ meaning }) => meaning !== ""),
    examples,
  };
}

/** `--option VALUE`, `[--] [COMMAND...]`: options and words in bold, what stands for something else in italics. */
export function usageWords(text: string): string {
  let out = "";
  let end = 0;
  for (const match of text.matchAll(/[A-Za-z][\w.]*(?:-[a-z]+)*|-{1,2}(?:[A-Za-z][\w-]*)?/g)) {
    const [word] = match;
    const before = text.slice(0, match.index);
    out += literal(text.slice(end, match.index));
    // a word in capitals stands for something else, and so does one that an option takes
    const isPlaceholder =
      /^[A-Z][A-Z_]*\.*$/.test(word) || /(^|[ [])(-\w |--[\w-]+=)$/.test(before);
    out += isPlaceholder ? italic(word) : bold(word);
    end = match.index + word.length;
  }
  return out + literal(text.slice(end));
}

export function entriesToRoff(entries: Usage["entries"]): string[] {
  return entries.flatMap(({ term, meaning }) =>
    tagged(usageWords(term), textLines(inline(sentence(meaning)))),
  );
}
