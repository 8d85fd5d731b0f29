/** The language of manual pages: groff_man(7), as groff and mandoc both read it. */

/** Characters that would be requests, or that typesetters replace by nicer ones that nobody can type. */
const SPECIAL: Readonly<Record<string, string>> = {
  "\\": "\\[rs]",
  "'": "\\[aq]",
  "`": "\\[ga]",
  "^": "\\[ha]",
  "~": "\\[ti]",
};
const LINE_WIDTH = 79;

/** Prose; a hyphen may be set as one. */
export function prose(text: string): string {
  return text.replaceAll(/[\\'`^~]|[^ -~\n\t]/gu, (character) => {
    const code = character.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0");
    return SPECIAL[character] ?? `\\[u${code}]`;
  });
}

/** What is typed: a hyphen is the one of the keyboard. */
export function literal(text: string): string {
  return prose(text).replaceAll("-", "\\-");
}

export function bold(text: string): string {
  return `\\fB${literal(text)}\\fR`;
}

export function italic(text: string): string {
  return `\\fI${literal(text)}\\fR`;
}

/** A phrase of `--help` as a sentence; a name stays as it is written. */
export function sentence(phrase: string): string {
  const start = phrase.replace(
    /^[a-z]+(?=[ ,;]|$)/,
    (word) => word[0]!.toUpperCase() + word.slice(1),
  );
  return /[.!?]$/.test(start) ? start : `${start}.`;
}

/** Roff text as lines of a page: broken at spaces, none taken for a request. Names and paths are not hyphenated. */
export function textLines(roff: string): string[] {
  const lines: string[] = [];
  for (const plain of roff.split(/\s+/).filter((one) => one !== "")) {
    const word = /\\fB|[:/@=]./.test(plain) ? `\\%${plain}` : plain;
    const last = lines.at(-1);
    if (last === undefined || last.length + 1 + word.length > LINE_WIDTH) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines.map(protect);
}

/** A macro with its arguments, each of which may have spaces. */
export function macro(name: string, ...args: readonly string[]): string {
  const quoted = args.map((arg) =>
    /^[^ "]+$/.test(arg) ? arg : `"${arg.replaceAll('"', "\\[dq]")}"`,
  );
  return `.${[name, ...quoted].join(" ")}`;
}

/** A term and what it means; `body` are lines. */
export function tagged(term: string, body: readonly string[]): string[] {
  return [".TP", protect(term), ...body];
}

/** What is typed or shown, line by line as it is. */
export function example(lines: readonly string[]): string[] {
  return [".PP", ".RS 4", ".EX", ...lines.map((line) => protect(literal(line))), ".EE", ".RE"];
}

function protect(line: string): string {
  return /^[.']/.test(line) ? `\\&${line}` : line;
}
