/** TOML documents of programs' configuration, read key by key: every error names the key and what was expected there. */
import { parse, TomlError } from "smol-toml";

const MAX_DEPTH = 16;

/** Parses the text of the file called `file` in messages. */
export function parseToml(text: string, file: string): TomlTable {
  let document: unknown;
  try {
    document = parse(text, { maxDepth: MAX_DEPTH });
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const [what] = error.message.split("\n");
    throw new Error(
      `${file}, line ${error.line}, column ${error.column}: ${(what ?? "").replace("Invalid TOML document: ", "")}`,
    );
  }
  return new TomlTable(document, file, "");
}

/** A table of the document; errors name the key. */
export class TomlTable {
  readonly #fields: Readonly<Record<string, unknown>>;
  readonly #file: string;
  readonly #path: string;

  constructor(value: unknown, file: string, path: string) {
    if (typeof value !== "object" || value === null || Array.isArray(value))
      throw new Error(`${file}: ${path}: expected a table`);
    this.#fields = value as Record<string, unknown>;
    this.#file = file;
    this.#path = path;
  }

  keys(): string[] {
    return Object.keys(this.#fields);
  }

  has(key: string): boolean {
    return Object.hasOwn(this.#fields, key);
  }

  optionalString(key: string): string | undefined {
    const value = this.#get(key);
    if (value === undefined || typeof value === "string") return value;
    return this.fail(key, "expected a string");
  }

  /** False if it is absent. */
  boolean(key: string): boolean {
    const value = this.#get(key);
    if (value === undefined || typeof value === "boolean") return value ?? false;
    return this.fail(key, "expected true or false");
  }

  optionalInteger(key: string): number | undefined {
    const value = this.#get(key);
    if (value === undefined || (typeof value === "number" && Number.isSafeInteger(value)))
      return value;
    return this.fail(key, "expected a whole number");
  }

  optionalStrings(key: string): string[] | undefined {
    const value = this.#get(key);
    if (value === undefined) return undefined;
    if (!Array.isArray(value) || !value.every((item) => typeof item === "string"))
      return this.fail(key, "expected a list of strings");
    return value;
  }

  optionalTable(key: string): TomlTable | undefined {
    const value = this.#get(key);
    return value === undefined ? undefined : new TomlTable(value, this.#file, this.#at(key));
  }

  /** Empty if there is none. */
  tables(key: string): TomlTable[] {
    const value = this.#get(key) ?? [];
    if (!Array.isArray(value)) return this.fail(key, `expected [[${this.#at(key)}]]`);
    return value.map((item, i) => new TomlTable(item, this.#file, this.#at(`${key}[${i}]`)));
  }

  /** A table of strings, empty if it is absent. */
  stringMap(key: string): ReadonlyMap<string, string> {
    const table = this.optionalTable(key);
    const names = table === undefined ? [] : Object.keys(table.#fields);
    return new Map(names.map((name) => [name, table?.optionalString(name) ?? ""]));
  }

  fail(key: string, why: string): never {
    throw new Error(`${this.#file}: ${this.#at(key)}: ${why}`);
  }

  #get(key: string): unknown {
    return this.has(key) ? this.#fields[key] : undefined;
  }

  #at(key: string): string {
    return this.#path === "" ? key : `${this.#path}.${key}`;
  }
}
