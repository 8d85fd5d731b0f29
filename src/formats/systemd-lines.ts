/** Lines of systemd's tmpfiles.d(5) and sysusers.d(5): words, which may be quoted; `#` begins a comment where a line does. */

/** The words of each line that has some. */
export function systemdLines(text: string): string[][] {
  return text.split("\n").flatMap((line) => {
    const trimmed = line.trim();
    if (trimmed === "" || trimmed.startsWith("#")) return [];
    return [wordsOf(trimmed)];
  });
}

/** Words between white space; `"…"` and `'…'` keep it, and a backslash escapes as in C. */
function wordsOf(line: string): string[] {
  const words = line.match(/(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\\.|[^\s"'\\])+/g) ?? [];
  return words.map((word) =>
    word.replace(
      /"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|\\.|[^"'\\]+/g,
      (part, double?: string, single?: string) => unescapeText(double ?? single ?? part),
    ),
  );
}

function unescapeText(text: string): string {
  return text.replace(/\\(x[0-9A-Fa-f]{2}|.)/g, (_, escaped: string) =>
    escaped.length > 1
      ? String.fromCharCode(Number.parseInt(escaped.slice(1), 16))
      : (ESCAPES[escaped] ?? escaped),
  );
}

const ESCAPES: Readonly<Record<string, string>> = { n: "\n", t: "\t", s: " " };
