/** Options as mount(8) hands them to its helpers: `key,key=value,…`, where a backslash takes a comma into a value. */

export interface MountOption {
  readonly key: string;
  /** Still with its backslashes; `undefined` if there is no `=`. */
  readonly value: string | undefined;
}

/** The options in their order; empty ones are left out. */
export function parseMountOptions(text: string): MountOption[] {
  return splitEscaped(text, ",")
    .filter((option) => option !== "")
    .map((option) => {
      const equals = option.indexOf("=");
      if (equals < 0) return { key: option, value: undefined };
      return { key: option.slice(0, equals), value: option.slice(equals + 1) };
    });
}

/** The parts of a text between separators that have no backslash before them. Backslashes stay. */
export function splitEscaped(text: string, separator: "," | ":"): string[] {
  const parts: string[] = [];
  let start = 0;
  for (let at = 0; at < text.length; at++) {
    if (text[at] === "\\") at++;
    else if (text[at] === separator) {
      parts.push(text.slice(start, at));
      start = at + 1;
    }
  }
  parts.push(text.slice(start));
  return parts;
}

/** The text that a value stands for: each backslash makes the next character an ordinary one. */
export function unescapeValue(value: string): string {
  return value.replaceAll(/\\(.)/gs, "$1");
}
