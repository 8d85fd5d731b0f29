/**
 * `/usr/lib/os-release`, os-release(5): what an operating system is called. Lines `NAME=value`, where the value may be in
 * single or double quotes as in a shell; in double quotes a backslash takes the next character as it is.
 */

/** The values by name. Of a name that is there twice the last value counts. */
export type OsRelease = ReadonlyMap<string, string>;

/** What a boot menu shows of an image. */
export interface OsLabel {
  readonly title: string | undefined;
  readonly version: string | undefined;
  readonly osId: string;
}

/** Larger files are cut off. */
const MAX_SIZE = 1 << 20;

/** Reads the file's text. What is no assignment is left out, as is a value whose quotes are not closed. */
export function parseOsRelease(text: string): OsRelease {
  const out = new Map<string, string>();
  for (const line of text.slice(0, MAX_SIZE).split("\n")) {
    const equals = line.indexOf("=");
    const name = line.slice(0, Math.max(equals, 0)).trim();
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) continue;
    const value = unquote(line.slice(equals + 1).trim());
    if (value !== undefined) out.set(name, value);
  }
  return out;
}

/** Title, version and id as bootc chooses them for boot menu entries. Empty values count as absent. */
export function osLabel(release: OsRelease): OsLabel {
  const first = (...names: string[]) => names.map((name) => release.get(name)).find(Boolean);
  return {
    title: first("PRETTY_NAME", "NAME", "ID"),
    version: first("VERSION_ID", "VERSION"),
    osId: first("ID") ?? "bootc",
  };
}

/** What a UKI is called in a boot menu: the title and, where there is one, the version. */
export function bootLabel({ title, version }: OsLabel): string | undefined {
  return title === undefined || version === undefined ? title : `${title} ${version}`;
}

function unquote(text: string): string | undefined {
  let out = "";
  let quote = "";
  for (let i = 0; i < text.length; i++) {
    const char = text[i]!;
    if (quote === "" && (char === '"' || char === "'")) quote = char;
    else if (char === quote) quote = "";
    else if (quote === '"' && char === "\\") {
      const next = text[++i];
      if (next === undefined) return undefined;
      out += next;
    } else out += char;
  }
  return quote === "" ? out : undefined;
}
