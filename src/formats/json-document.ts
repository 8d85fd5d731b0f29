/**
 * JSON documents from elsewhere, read field by field: every error names the field and what was expected there.
 */
import { fromBytes, toText } from "./bytestring.ts";

/** Parses the bytes of a JSON document, whose root must be an object. `name` is for messages. */
export function parseJson(bytes: Uint8Array, name: string, limit: number): JsonObject {
  return new JsonObject(parseValue(bytes, name, limit), name, "");
}

/** Parses the bytes of a JSON document, whose root must be a list of objects. */
export function parseJsonList(bytes: Uint8Array, name: string, limit: number): JsonObject[] {
  const value = parseValue(bytes, name, limit);
  if (!Array.isArray(value)) throw new Error(`${name}: expected a list`);
  return value.map((object, i) => new JsonObject(object, name, `[${i}]`));
}

function parseValue(bytes: Uint8Array, name: string, limit: number): unknown {
  if (bytes.length > limit) {
    throw new Error(`${name}: ${bytes.length} bytes, expected at most ${limit}`);
  }
  const text = toText(fromBytes(bytes));
  if (text === undefined) throw new Error(`${name}: expected JSON in UTF-8`);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`${name}: expected JSON`, { cause: error });
  }
}

/**
 * An object of a document. A field that is `null` counts as absent, as encoders write it for empty values.
 * `optional` readers return `undefined` for a field that is absent, the others throw.
 */
export class JsonObject {
  readonly #fields: Readonly<Record<string, unknown>>;
  readonly #name: string;
  readonly #path: string;

  constructor(value: unknown, name: string, path: string) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw new Error(`${name}: ${path === "" ? "" : `${path}: `}expected an object`);
    }
    this.#fields = value as Record<string, unknown>;
    this.#name = name;
    this.#path = path;
  }

  keys(): string[] {
    return Object.keys(this.#fields);
  }

  /** All fields, as they are. */
  get value(): Readonly<Record<string, unknown>> {
    return this.#fields;
  }

  has(key: string): boolean {
    return this.#get(key) !== undefined;
  }

  string(key: string): string {
    return this.optionalString(key) ?? this.fail(key, "expected a string, it is missing");
  }

  optionalString(key: string): string | undefined {
    const value = this.#get(key);
    if (value !== undefined && typeof value !== "string") this.fail(key, "expected a string");
    return value as string | undefined;
  }

  /** A whole number that is not negative. */
  size(key: string): number {
    const value = this.#get(key);
    if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) {
      return this.fail(key, "expected a whole number, 0 or more");
    }
    return value;
  }

  object(key: string): JsonObject {
    return new JsonObject(this.#get(key), this.#name, this.#at(key));
  }

  optionalObject(key: string): JsonObject | undefined {
    return this.has(key) ? this.object(key) : undefined;
  }

  /** Empty if the field is `null`. */
  objects(key: string): JsonObject[] {
    return this.#array(key).map(
      (value, i) => new JsonObject(value, this.#name, this.#at(`${key}[${i}]`)),
    );
  }

  /** Empty if the field is `null`. */
  strings(key: string): string[] {
    return this.#array(key).map((value, i) =>
      typeof value === "string" ? value : this.fail(`${key}[${i}]`, "expected a string"),
    );
  }

  /** An object of strings, empty if it is absent. */
  stringMap(key: string): ReadonlyMap<string, string> {
    const object = this.optionalObject(key);
    if (object === undefined) return new Map();
    return new Map(Object.keys(object.#fields).map((name) => [name, object.string(name)]));
  }

  /** Throws an error about a field. */
  fail(key: string, why: string): never {
    throw new Error(`${this.#name}: ${this.#at(key)}: ${why}`);
  }

  #array(key: string): readonly unknown[] {
    const value = Object.hasOwn(this.#fields, key) ? (this.#fields[key] ?? []) : undefined;
    return Array.isArray(value) ? value : this.fail(key, "expected a list");
  }

  #get(key: string): unknown {
    return Object.hasOwn(this.#fields, key) ? (this.#fields[key] ?? undefined) : undefined;
  }

  #at(key: string): string {
    return this.#path === "" ? key : `${this.#path}.${key}`;
  }
}
