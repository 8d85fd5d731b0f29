/**
 * INI files as bootc keeps them; it reads and writes them with the Rust library `tini`, and so the bytes are its:
 *
 *     [section]
 *     key = value
 *
 *     [other]
 *     key = value
 *
 * `;` and `#` start a comment anywhere in a line, also within a value: there is no way to write these. Sections and
 * items stay in the order in which they first came; of an item that is there more than once the last value counts.
 */

export interface IniFile {
  /** Without empty sections, which are not written. */
  readonly sections: readonly IniSection[];
  /** Lines that mean nothing, for people. To bootc a file that has one is unreadable. */
  readonly problems: readonly string[];
}

export interface IniSection {
  /** Empty for what is before the first section. */
  readonly name: string;
  readonly items: readonly (readonly [key: string, value: string])[];
}

const MAX_PROBLEMS = 10;

/** Reads a file's text. Lines that make no sense are left out and told in `problems`, by their number. */
export function parseIni(text: string): IniFile {
  const sections = new Map<string, Map<string, string>>();
  const problems: string[] = [];
  let section = "";
  for (const [i, line] of text.split("\n").entries()) {
    const content = (/^[^;#]*/.exec(line)?.[0] ?? "").trim();
    const equals = content.indexOf("=");
    const key = content.slice(0, equals).trimEnd();
    if (content === "") continue;
    if (content.startsWith("[") && content.endsWith("]")) section = trimBrackets(content);
    else if (content.startsWith("[")) problems.push(`line ${i + 1}: expected ] at its end`);
    else if (equals < 0) problems.push(`line ${i + 1}: expected KEY = VALUE`);
    else if (key === "") problems.push(`line ${i + 1}: expected a key before =`);
    else {
      const items = sections.get(section) ?? new Map<string, string>();
      sections.set(section, items.set(key, content.slice(equals + 1).trimStart()));
    }
  }
  const more = problems.length - MAX_PROBLEMS;
  return {
    sections: [...sections].map(([name, items]) => ({ name, items: [...items] })),
    problems: more > 0 ? [...problems.slice(0, MAX_PROBLEMS), `${more} lines more`] : problems,
  };
}

/** The text of the file; empty without any items. */
export function formatIni(file: IniFile): string {
  return file.sections
    .map(({ name, items }) => {
      const lines = items.map(([key, value]) => `${key} = ${value}\n`);
      return `[${name}]\n${lines.join("")}`;
    })
    .join("\n");
}

/** The value of an item, if it is there. */
export function iniValue(file: IniFile, section: string, key: string): string | undefined {
  const items = file.sections.find(({ name }) => name === section)?.items ?? [];
  return items.find(([other]) => other === key)?.[1];
}

/**
 * The file with another value for an item, in its place or at the end of its section; `undefined` takes the item away.
 * Throws for names and values that would not be read again as they are.
 */
export function setIniValue(
  file: IniFile,
  section: string,
  key: string,
  value: string | undefined,
): IniFile {
  const present = file.sections.find(({ name }) => name === section);
  if (value === undefined) {
    const sections = file.sections.map((one) =>
      one === present ? { ...one, items: one.items.filter(([other]) => other !== key) } : one,
    );
    return { ...file, sections: sections.filter(({ items }) => items.length > 0) };
  }
  checkText(`[${section}]`, section, /[;#\n[\]]/);
  checkText(`key ${key}`, key, /^$|[;#\n=]|^\[/);
  checkText(key, value, /[;#\n]/);
  if (present === undefined) {
    return { ...file, sections: [...file.sections, { name: section, items: [[key, value]] }] };
  }
  const items = present.items.some(([other]) => other === key)
    ? present.items.map((item) => (item[0] === key ? ([key, value] as const) : item))
    : [...present.items, [key, value] as const];
  const sections = file.sections.map((one) => (one === present ? { ...one, items } : one));
  return { ...file, sections };
}

function checkText(what: string, text: string, refused: RegExp): void {
  if (refused.test(text) || text.trim() !== text) {
    const shown = JSON.stringify(text.slice(0, 200));
    throw new Error(
      `${what}: ${shown} does not fit into an INI file: expected one line, no ; or #`,
    );
  }
}

function trimBrackets(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && "[]".includes(text[start]!)) start++;
  while (end > start && "[]".includes(text[end - 1]!)) end--;
  return text.slice(start, end);
}
